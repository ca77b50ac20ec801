"""The evaluator as a process, seen by whoever operates it: metrics, logs, retries, cancelling."""

from __future__ import annotations

import pytest

from tests.fakes.evaluations import QUESTIONS, RUN, obliging, spec
from tests.fakes.scrape import sample
from tests.fakes.scripted_models import Reply
from tests.fakes.waiting import eventually

pytestmark = pytest.mark.redis


async def test_an_overloaded_server_is_asked_again_with_the_same_key(evaluator, models):
    def full_once(call):
        if len(models.calls) == 1:
            return Reply(status=429, headers={"retry-after": "1"}, error={"message": "full"})
        return obliging(call)

    models.reply = full_once
    run = await evaluator.ended(await evaluator.create_run(spec(QUESTIONS[:1]), RUN))
    assert run["progress"]["judged"] == 1
    assert [call.model for call in models.calls] == ["candidate", "candidate", "judge"]
    assert models.calls[0].key == models.calls[1].key
    assert {call.headers["x-llmzoo-priority"] for call in models.calls} == {"batch"}


async def test_cancelling_lets_the_calls_in_flight_finish(evaluator, models):
    models.gate.clear()
    path = await evaluator.create_run(spec(), RUN)
    await models.until(lambda: models.open == 2)
    canceled = await evaluator.post(f"{path}/cancel")
    assert canceled.status_code == 200
    assert (canceled.json()["status"], canceled.json()["reason"]) == ("canceled", "user")
    assert (await evaluator.post(f"{path}/cancel")).json() == canceled.json()
    models.gate.set()

    async def kept():
        return (await evaluator.get(path))["usage"]["answers"]["calls"] == 2

    await eventually(kept)
    assert (models.cut, len(models.calls)) == (0, 2)


async def test_a_run_that_stands_still_is_told_until_it_goes_on(evaluator, models, redis_server):
    async def age():
        return sample(
            (await evaluator.client.get("/metrics")).text, "llmzoo_eval_oldest_progress_age_seconds"
        )

    async def is_old():
        return await age() > 1.5

    async def is_none():
        return await age() == 0

    assert await age() == 0
    models.gate.clear()
    await evaluator.create_run(spec(), RUN)
    await models.until(lambda: models.open == 2)
    await eventually(is_old)
    redis_server.kill()
    before = await age()

    async def is_older():
        return await age() > before + 0.5

    # Who cannot look does not say that all is well.
    await eventually(is_older)
    redis_server.start()
    models.gate.set()
    await eventually(is_none, seconds=20)


async def test_operations(evaluator, models):
    await evaluator.ended(await evaluator.create_run(spec(), RUN))

    async def counted():
        metrics = (await evaluator.client.get("/metrics")).text
        return (
            'llmzoo_eval_items_total{outcome="judged"} 6.0' in metrics
            and 'llmzoo_judge_calls_total{outcome="ok"} 6.0' in metrics
            and "llmzoo_judge_call_seconds_count 6.0" in metrics
            and 'llmzoo_eval_jobs{state="running"} 0.0' in metrics
            and 'llmzoo_eval_job_seconds_count{state="completed"} 1.0' in metrics
        )

    await eventually(counted, seconds=20)
    assert (await evaluator.get("/version"))["service"] == "evaluator"
    log = evaluator.log.read_text()
    assert "run ended" in log
    for call in models.calls:
        assert f'"request_id":"{call.headers["x-request-id"]}"' in log
    assert "secret" not in log
    assert "legs" not in log
