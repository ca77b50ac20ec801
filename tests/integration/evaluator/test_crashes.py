"""What a run survives: a killed evaluator, a stopped one, Redis away, two evaluators at once."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import pytest
import redis.asyncio as aredis

from shared.registry import RegistryView
from shared.settings import FleetSettings
from tests.fakes.evaluations import QUESTIONS, RUN, obliging, spec
from tests.fakes.waiting import eventually

pytestmark = pytest.mark.redis


@pytest.fixture
async def view(unstarted_redis):
    view = RegistryView(FleetSettings(redis_url=unstarted_redis.url))
    yield view
    await view.close()


async def half_done(evaluator, models):
    """Start a run whose calls stop coming back after three verdicts or so; return its path."""

    def closing(call):
        if sum(call.model == "judge" for call in models.answered) >= 3:
            models.gate.clear()
        return obliging(call)

    models.reply = closing
    path = await evaluator.create_run(spec(), RUN)

    async def three_judged():
        return (await evaluator.get(path))["progress"]["judged"] >= 3

    await eventually(three_judged, seconds=20)
    await models.until(lambda: models.open == 2)
    models.reply = obliging
    return path


def answered_of(items):
    """Return the answers that were committed."""
    answers = {item["id"]: item["answers"][0]["turns"] for item in items}
    return {name: turns for name, turns in answers.items() if turns is not None}


async def finishes_without_repeating(evaluator, models, path):
    """Wait for the run's end; each call that came back was made once."""
    models.gate.set()
    run = await evaluator.ended(path)
    assert run["status"] == "completed"
    assert run["progress"]["judged"] == 6
    assert run["usage"]["answers"]["calls"] == run["usage"]["judge"]["calls"] == 6
    assert set(models.keys().values()) == {1}
    assert len(models.keys()) == 12


async def test_a_killed_evaluator_resumes_where_it_was(evaluator, models):
    path = await half_done(evaluator, models)
    before = answered_of(await evaluator.items(path))
    progress = (await evaluator.get(path))["progress"]
    assert await evaluator.end(signal.SIGKILL) == -signal.SIGKILL
    await models.until(lambda: models.cut == 2)

    await evaluator.start()
    assert (await evaluator.get(path))["progress"] == progress
    await finishes_without_repeating(evaluator, models, path)
    after = answered_of(await evaluator.items(path))
    assert before.items() <= after.items()


async def test_a_told_stop_closes_calls_withdraws_and_keeps_the_run(evaluator, models, view):
    path = await half_done(evaluator, models)
    records = (await view.snapshot()).records
    assert [(record.kind, record.address) for record in records] == [("evaluator", evaluator.url)]

    assert await evaluator.end(signal.SIGTERM) == 0
    await models.until(lambda: models.cut == 2)
    assert (await view.snapshot()).records == ()

    models.gate.clear()
    await evaluator.start()
    await finishes_without_repeating(evaluator, models, path)


async def test_two_evaluators_share_runs_and_no_item(evaluator, models, launch):
    other = launch()
    await other.start()
    specs = [spec([f"{question} ({run})" for question in QUESTIONS]) for run in range(6)]
    paths = await asyncio.gather(
        *((evaluator, other)[number % 2].create_run(made, RUN) for number, made in enumerate(specs))
    )
    runs = await asyncio.gather(*(evaluator.ended(path) for path in paths))
    assert {run["status"] for run in runs} == {"completed"}
    assert {run["progress"]["judged"] for run in runs} == {6}
    assert set(models.keys().values()) == {1}
    assert len(models.keys()) == 6 * 12


async def test_without_redis_it_lives_waits_and_recovers(launch, unstarted_redis):
    evaluator = launch()
    await evaluator.start(until="live")
    assert not await evaluator.healthy("ready")
    refused = await evaluator.post("/v1/evals", spec())
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "unavailable"
    assert int(refused.headers["retry-after"]) >= 1

    unstarted_redis.start()
    await eventually(lambda: evaluator.healthy("ready"), seconds=20)
    run = await evaluator.ended(await evaluator.create_run(spec(), RUN))
    assert run["status"] == "completed"


async def test_results_wait_for_a_redis_that_went_silent(evaluator, models, unstarted_redis):
    path = await half_done(evaluator, models)
    unstarted_redis.freeze()
    models.gate.set()

    async def not_ready():
        return not await evaluator.healthy("ready")

    await eventually(not_ready, seconds=20)
    await models.until(lambda: models.open == 0)
    unstarted_redis.thaw()
    await finishes_without_repeating(evaluator, models, path)


@pytest.mark.parametrize("how", ["emptied", "killed"])
async def test_what_redis_lost_is_reported_lost_and_not_as_if_it_never_was(
    evaluator, models, unstarted_redis, launch, how
):
    done = await evaluator.create_run(spec(QUESTIONS[:1]), RUN)
    assert (await evaluator.ended(done))["status"] == "completed"
    models.answered.clear()
    models.calls.clear()
    running = await half_done(evaluator, models)
    if how == "emptied":
        async with aredis.Redis.from_url(unstarted_redis.url) as client:
            await client.flushall()
    else:
        unstarted_redis.kill()
        unstarted_redis.start()
    await models.until(lambda: models.cut == 2)  # its calls are closed
    lost: dict[str, Any] = {}

    async def reported():
        answer = await evaluator.client.get(running)
        lost.update(answer.json())
        return answer.is_success

    await eventually(reported)
    assert (lost["status"], "Redis lost" in lost["error"]) == ("failed", True)
    counted = {"total": 6, "queued": 6, "answers_total": 6}
    assert lost["progress"] == {**dict.fromkeys(lost["progress"], 0), **counted}
    assert {item["status"] for item in await evaluator.items(running)} == {"pending"}

    other = launch()  # which was not there
    await other.start()
    eval_path = done.rpartition("/runs/")[0]
    codes = {eval_path: "eval_lost", done: "run_lost", f"{done}/output_items": "eval_lost"}
    for process in (evaluator, other):
        for path, code in codes.items():
            answer = await process.client.get(path)
            assert (answer.status_code, answer.json()["error"]["code"]) == (410, code)
        unknown = await process.client.get(f"/v1/evals/eval_{'0' * 32}")
        assert unknown.status_code == 404
        assert (await process.get(running))["error"] == lost["error"]
        listed = await process.get("/v1/evals")
        assert len(listed["data"]) == 1
        assert listed["kept_since"] > lost["created_at"] - 1

    models.gate.set()
    again = await evaluator.ended(await evaluator.create_run(spec(name="again"), RUN))
    assert again["status"] == "completed"
