"""The evaluation API in odd cases: bounds of paging, runs that are there, money without end."""

from __future__ import annotations

import pytest

from tests.fakes.evaluation_api import EvaluationApi
from tests.fakes.spec_readers import completions, eval_body, openai_eval

pytestmark = pytest.mark.redis

RUN = {"candidates": ["alpha", "beta"]}
NOTHING = {"answers": 0, "judge": 0, "judge_at_most": 0, "cost_usd": 0.0}


@pytest.fixture
async def api(redis_server):
    running = await EvaluationApi(redis_server.url).listening()
    yield running
    await running.stop()


@pytest.mark.parametrize("limit", ["0000011000", "000001", "1000", "101", "", "1.5"])
async def test_a_page_is_never_longer_than_the_most(api, limit):
    path = await api.created(eval_body())
    for listed in ("/v1/evals", f"{path}/runs"):
        refused = await api.client.get(listed, params={"limit": limit})
        assert refused.status_code == 400, refused.text
        assert refused.json()["error"]["param"] == "limit"


async def test_a_list_begins_where_nothing_is_said(api):
    path = await api.created(eval_body())
    listed = (await api.client.get("/v1/evals", params={"after": ""})).json()
    assert [path.rsplit("/", 1)[1]] == [each["id"] for each in listed["data"]]
    refused = await api.client.get(f"{path}/runs", params={"status": "over"})
    assert refused.json()["error"]["message"].startswith("'status' must be one of queued, ")


async def test_a_dry_run_of_a_run_that_is_over_counts_nothing(api):
    path = await api.created(eval_body())

    async def counted(**changes):
        response = await api.client.post(f"{path}/runs", json={**RUN, "dry_run": True, **changes})
        assert response.status_code == 200, response.text
        return response.json()

    before = await counted()
    assert before["answers"] == 8
    run = (await api.client.post(f"{path}/runs", json=RUN)).headers["location"]
    assert await counted() == before  # it is open: its calls are still to come
    await api.client.post(f"{run}/cancel")
    over = await counted()
    assert {name: over[name] for name in NOTHING} == NOTHING
    assert run.rsplit("/", 1)[1] in over["warnings"][0]
    assert await counted(force_new=True) == before
    assert (await counted(name="another"))["answers"] == 8
    assert (await api.client.delete(run)).status_code == 200
    assert await counted() == before


async def test_openais_runs_are_counted_and_forced_too(api):
    path = await api.created(openai_eval())
    body = completions({"q": "1 + 1", "a": "2"})
    dry = await api.client.post(f"{path}/runs", json={**body, "dry_run": True})
    assert (dry.status_code, dry.json()["answers"]) == (200, 1)
    first = await api.client.post(f"{path}/runs", json=body)
    again = await api.client.post(f"{path}/runs", json=body)
    forced = await api.client.post(f"{path}/runs", json={**body, "force_new": True})
    assert (first.status_code, again.status_code, forced.status_code) == (202, 200, 202)
    assert first.json()["id"] == again.json()["id"] != forced.json()["id"]
    refused = await api.client.post(f"{path}/runs", json={**body, "dry_run": "yes"})
    [fault] = refused.json()["error"]["errors"]
    assert fault["pointer"] == "/dry_run"


async def test_a_fault_of_a_whole_body_is_told_without_a_pointer(api):
    path = await api.created(eval_body())
    run = (await api.client.post(f"{path}/runs", json=RUN)).headers["location"]
    verdict = {"author": "Ada", "reason": "seen", "scores": [1, 2], "ranks": [1, 2]}
    refused = await api.client.patch(f"{run}/output_items/item_0", json=verdict)
    assert refused.json()["error"]["message"][0].isalpha()


async def test_answers_are_taken_of_a_run_that_is_over(api):
    path = await api.created(eval_body())
    run = (await api.client.post(f"{path}/runs", json=RUN)).headers["location"]
    taking = {"answers_from_run": run.rsplit("/", 1)[1], "name": "again"}
    refused = await api.client.post(f"{path}/runs", json=taking)
    [fault] = refused.json()["error"]["errors"]
    assert (refused.status_code, fault["pointer"]) == (422, "/answers_from_run")
    assert "open" in fault["message"]
    await api.client.post(f"{run}/cancel")
    assert (await api.client.post(f"{path}/runs", json=taking)).status_code == 202
