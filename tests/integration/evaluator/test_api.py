"""The evaluation API over real sockets and a real Redis: shapes, idempotency, bounds, refusals."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from services.evaluator.jobs.records import StoredAnswer, StoredResult
from services.evaluator.jobs.states import JUDGED
from shared.errors import UpstreamFailed
from shared.protocol.evals.item import ItemStatus, Verdict
from shared.registry import keys
from tests.fakes.evaluation_api import EvaluationApi
from tests.fakes.running_service import TOKEN
from tests.fakes.spec_readers import eval_body
from tests.fakes.waiting import eventually

pytestmark = pytest.mark.redis

RUN = {"candidates": ["alpha", "beta"]}


@pytest.fixture
async def start(redis_server):
    running = []

    async def launch(**settings):
        running.append(EvaluationApi(redis_server.url, **settings))
        return await running[-1].listening()

    yield launch
    for api in running:
        await api.stop()


@pytest.fixture
async def api(start):
    return await start()


async def made_run(api, body=None, run=None):
    """Return the path of a run of a new eval."""
    path = await api.created(body or eval_body())
    response = await api.client.post(f"{path}/runs", json=run or RUN)
    assert response.status_code == 202, response.text
    return response.headers["location"]


async def write(api, path, number, scores):
    """Write down how a review ended, and the answers that it read."""
    run_id = path.rsplit("/", 1)[1]
    verdict = Verdict(scores=scores, rule="written")
    stored = StoredResult(status=ItemStatus.JUDGED, verdict=verdict, judge_text="because")
    part = keys.evaluation_run_part
    await api.redis.hset(part(run_id, "results"), number, stored.encode())
    await api.redis.setrange(part(run_id, "review-states"), number, JUDGED)
    for place in range(2):
        answer = StoredAnswer(turns=(f"answer {place}",)).encode()
        await api.redis.hset(part(run_id, "answers"), number * 2 + place, answer)


async def test_an_eval_is_made_told_found_renamed_and_deleted(api):
    made = await api.client.post("/v1/evals", json=eval_body(name="tea"))
    assert made.status_code == 201
    path = made.headers["location"]
    assert path == f"/v1/evals/{made.json()['id']}"
    told = (await api.client.get(path)).json()
    assert told == made.json()
    assert (told["object"], told["question_count"]) == ("eval", 3)
    assert told["spec"]["judges"][0]["model"] == "judge"

    again = await api.client.post("/v1/evals", json=eval_body(name="tea"))
    assert (again.status_code, again.headers["location"]) == (200, path)
    renamed = await api.client.post(path, json={"name": "coffee", "metadata": {"a": "b"}})
    assert renamed.json()["spec"]["name"] == "coffee"
    [listed] = (await api.client.get("/v1/evals")).json()["data"]
    assert (listed["spec"]["name"], listed["spec"]["questions"]) == ("coffee", [])

    gone = await api.client.delete(path)
    assert gone.json() == {"object": "eval.deleted", "deleted": True, "eval_id": told["id"]}
    assert (await api.client.get(path)).status_code == 410


async def test_a_run_is_made_found_cancelled_resumed_and_deleted(api):
    path = await made_run(api)
    told = (await api.client.get(path)).json()
    assert (told["status"], told["candidates"]) == ("queued", ["alpha", "beta"])
    assert told["progress"]["total"] == 3
    runs = path.rsplit("/", 1)[0]
    again = await api.client.post(runs, json=RUN)
    assert (again.status_code, again.headers["location"]) == (200, path)
    other = await api.client.post(runs, json={**RUN, "force_new": True})
    assert other.status_code == 202
    assert (await api.client.delete(path)).status_code == 409

    for way in ("", "/cancel", "/cancel"):
        canceled = (await api.client.post(f"{path}{way}")).json()
        assert (canceled["status"], canceled["reason"]) == ("canceled", "user")
    listed = (await api.client.get(runs, params={"status": "canceled"})).json()
    assert [run["id"] for run in listed["data"]] == [told["id"]]
    resumed = await api.client.post(f"{path}/resume", json={"limits": {"max_calls": 3}})
    assert resumed.json()["status"] == "queued"
    assert (await api.client.post(f"{path}/resume")).status_code == 409
    await api.client.post(f"{path}/cancel")
    assert (await api.client.delete(path)).json()["deleted"]
    assert (await api.client.get(path)).status_code == 410


async def test_another_judge_reads_the_same_answers(api):
    path = await made_run(api)
    await write(api, path, 0, [3, 4])
    open_run = await api.client.post(f"{path}/resume", json={"judge": "far/judge"})
    assert open_run.status_code == 409
    await api.client.post(f"{path}/cancel")
    wish = {"judge": "far/judge", "dry_run": True}
    counts = (await api.client.post(f"{path}/resume", json=wish)).json()
    listed = (await api.client.get(path.rsplit("/", 1)[0])).json()["data"]
    assert len(listed) == 1
    anew = await api.client.post(f"{path}/resume", json={"judge": "far/judge"})
    assert anew.status_code == 202
    # One of three questions is answered, and one of the others has two turns.
    assert (counts["answers"], counts["judge"]) == (2 * (1 + 2), 3)
    location = anew.headers["location"]
    assert location != path
    items = (await api.client.get(f"{location}/output_items")).json()["data"]
    assert items[0]["judge"] == "far/judge"
    assert [answer["turns"] for answer in items[0]["answers"]] == [["answer 0"], ["answer 1"]]
    assert anew.json()["progress"]["answered"] == 2
    faults = await api.client.post(f"{path}/resume", json={"judge": "nobody", "only": "x"})
    assert {each["pointer"] for each in faults.json()["error"]["errors"]} == {"/judge", "/only"}
    aimless = await api.client.post(f"{path}/resume", json={"dry_run": True})
    assert [each["pointer"] for each in aimless.json()["error"]["errors"]] == ["/dry_run"]


async def test_answers_of_an_earlier_run_are_used_again(api):
    path = await made_run(api)
    await write(api, path, 0, [3, 4])
    runs, run_id = path.rsplit("/", 1)
    await api.client.post(f"{path}/cancel")
    body = {"answers_from_run": run_id, "force_new": True, "candidates": ["alpha"]}
    made = (await api.client.post(runs, json=body)).json()
    assert made["progress"]["answered"] == 1
    body["answers_from_run"] = "evalrun_unknown"
    refused = await api.client.post(runs, json=body)
    assert refused.json()["error"]["errors"][0]["pointer"] == "/answers_from_run"


async def test_a_dry_run_counts_and_keeps_nothing(api):
    path = await api.created(eval_body())
    told = await api.client.post(f"{path}/runs", json={**RUN, "dry_run": True})
    assert told.status_code == 200
    assert (told.json()["answers"], told.json()["judge"]) == (8, 3)
    assert (await api.client.get(f"{path}/runs")).json()["data"] == []
    assert api.fleet.asked == []


async def test_items_are_paged_filtered_and_overridden(api):
    path = await made_run(api)
    await write(api, path, 1, [3, 4])
    listed = (await api.client.get(f"{path}/output_items", params={"limit": 2})).json()
    assert ([item["id"] for item in listed["data"]], listed["has_more"]) == (
        ["item_0", "item_1"], True,
    )  # fmt: skip
    judged = (await api.client.get(f"{path}/output_items", params={"status": "judged"})).json()
    assert [item["id"] for item in judged["data"]] == ["item_1"]
    backwards = (await api.client.get(f"{path}/output_items", params={"order": "desc"})).json()
    assert backwards["first_id"] == "item_2"

    verdict = {"author": "Ada", "reason": "The second one is right.", "ranks": [2, 1]}
    changed = await api.client.patch(f"{path}/output_items/item_1", json=verdict)
    assert changed.json()["verdict"]["ranks"] == [2, 1]
    [override] = changed.json()["overrides"]
    assert (override["author"], override["replaced"]["scores"]) == ("Ada", [3, 4])
    told = (await api.client.get(f"{path}/output_items/item_1")).json()
    assert told == changed.json()
    for bad in ({"ranks": [1, 3]}, {"author": " "}, {"colour": 1}, {"scores": [1, 2]}):
        refused = await api.client.patch(f"{path}/output_items/item_1", json={**verdict, **bad})
        assert refused.status_code == 422
    for name in ("item_3", "item_01", "x"):
        assert (await api.client.get(f"{path}/output_items/{name}")).status_code == 404


async def test_a_key_is_done_once(api):
    key = {"idempotency-key": "one"}
    body = eval_body(name="once")
    first = await api.client.post("/v1/evals", json=body, headers=key)
    again = await api.client.post("/v1/evals", json=body, headers=key)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["idempotent-replayed"] == "true"
    other = await api.client.post("/v1/evals", json=eval_body(), headers=key)
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_key_reused")
    elsewhere = await api.client.post(f"{first.headers['location']}/runs", json=body, headers=key)
    assert elsewhere.json()["error"]["code"] == "idempotency_key_reused"
    # Another one's key of the same text is another key.
    stranger = {**key, "x-llmzoo-principal": "key_2"}
    assert (await api.client.post("/v1/evals", json=eval_body(), headers=stranger)).is_success

    faults = {**key, "idempotency-key": "faulty"}
    for _ in range(2):
        refused = await api.client.post("/v1/evals", json={"questions": 3}, headers=faults)
        assert refused.status_code == 422
        assert refused.json()["error"]["code"] == "invalid_spec"
    long = await api.client.post("/v1/evals", json=body, headers={"idempotency-key": "k" * 256})
    assert long.status_code == 400


async def test_a_key_whose_request_still_runs(api):
    """The first request waits for the fleet; the second one is told to come again."""
    api.fleet.gate.clear()
    key = {"idempotency-key": "slow"}
    first = asyncio.create_task(api.client.post("/v1/evals", json=eval_body(), headers=key))
    await eventually(lambda: api.fleet.looked_at == 1)
    second = await api.client.post("/v1/evals", json=eval_body(), headers=key)
    assert second.status_code == 409
    assert int(second.headers["retry-after"]) >= 1
    api.fleet.gate.set()
    assert (await first).status_code == 201


async def test_what_failed_here_may_be_tried_again_with_its_key(api):
    key = {"idempotency-key": "again"}
    api.fleet.fault = UpstreamFailed("gone")
    first = await api.client.post("/v1/evals", json=eval_body(), headers=key)
    assert (first.status_code, first.json()["error"]["code"]) == (503, "models_unknown")
    assert int(first.headers["retry-after"]) >= 1
    api.fleet.fault = None
    again = await api.client.post("/v1/evals", json=eval_body(), headers=key)
    assert again.status_code == 201


async def test_figures_are_made_once_for_all_who_ask(api):
    path = await made_run(api)
    await write(api, path, 0, [3, 4])
    api.figures.gate.clear()
    asking = [asyncio.create_task(api.client.get(f"{path}/results")) for _ in range(6)]
    await eventually(lambda: api.figures.made == ["results"])
    # One who goes away stops nothing for the others.
    asking.pop().cancel()
    api.figures.gate.set()
    answers = await asyncio.gather(*asking)
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert answers[0].json()["complete"] is False
    await api.client.get(f"{path}/results")
    assert api.figures.made == ["results"]
    # Another verdict, other figures.
    await write(api, path, 1, [1, 2])
    other = (await api.client.get(f"{path}/results")).json()
    assert other["digest"] != answers[0].json()["digest"]
    assert api.figures.made == ["results", "results"]


async def test_too_many_figures_at_once_are_refused(api):
    paths = [await made_run(api, eval_body(name=str(number))) for number in range(6)]
    api.figures.gate.clear()
    asking = [asyncio.create_task(api.client.get(f"{path}/results")) for path in paths[:4]]
    await eventually(lambda: len(api.bench._making) == 4)
    refused = await api.client.get(f"{paths[5]}/results")
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1
    api.figures.gate.set()
    assert {(await task).status_code for task in asking} == {200}
    assert (await api.client.get(f"{paths[5]}/results")).status_code == 200


@pytest.mark.parametrize(
    ("form", "media_type", "shown"),
    [
        ("html", "text/html; charset=utf-8", "inline"),
        ("md", "text/markdown; charset=utf-8", "inline"),
        ("json", "application/json", "inline"),
        ("csv", "text/csv; charset=utf-8; header=present", "attachment"),
        ("jsonl", "application/jsonl", "attachment"),
    ],
)
async def test_reports(api, form, media_type, shown):
    path = await made_run(api)
    report = await api.client.get(f"{path}/report", params={"format": form})
    assert report.headers["content-type"] == media_type
    name = path.rsplit("/", 1)[1]
    assert report.headers["content-disposition"] == f'{shown}; filename="{name}.{form}"'
    assert report.headers["x-content-type-options"] == "nosniff"
    assert ("sandbox" in report.headers.get("content-security-policy", "")) is (form == "html")
    assert report.json()["items"] == ["item_0", "item_1", "item_2"]
    assert report.json()["form"] == form
    assert (await api.client.get(f"{path}/report?format=pdf")).status_code == 400


async def test_comparisons_and_llmzoos_files(api):
    path = await made_run(api)
    runs, first = path.rsplit("/", 1)
    other = (await api.client.post(runs, json={**RUN, "force_new": True})).json()["id"]
    told = (await api.client.get(f"{path}/compare", params={"run": other})).json()
    assert (told["run_id"], told["other_run_id"]) == (first, other)
    elsewhere = await made_run(api, eval_body(name="elsewhere"))
    named = "/".join(elsewhere.split("/")[3::2])
    told = (await api.client.get(f"{path}/compare", params={"run": named})).json()
    assert told["other_run_id"] == named.split("/")[1]
    assert (await api.client.get(f"{path}/compare")).status_code == 400

    file = await api.client.get(f"{path}/artifacts/metric.json?horiz&score=true")
    assert file.json()["wanted"] == {
        "name": "metric.json",
        "dimension": "general",
        "horizontal": True,
        "scores": True,
        "candidate": None,
    }
    assert file.headers["content-disposition"] == 'attachment; filename="metric.json"'
    assert (await api.client.get(f"{path}/artifacts/ordering.txt?horiz=maybe")).status_code == 400
    assert (await api.client.get(f"{path}/artifacts/x.txt")).status_code == 404
    unknown = await api.client.get(f"{path}/artifacts/metric.json?dimension=beauty")
    assert unknown.status_code == 400


async def test_errors_are_openai_objects(api):
    client, path = api.client, await made_run(api)
    answers = {
        (400, "invalid_json"): await client.post("/v1/evals", content=b"{"),
        (422, "invalid_spec"): await client.post("/v1/evals", content=b'{"a": 1, "a": 2}'),
        (404, "not_found"): await client.get("/v1/evals/eval_x"),
        (405, "method_not_allowed"): await client.put("/v1/evals"),
        (400, "invalid_value"): await client.get("/v1/evals?limit=0"),
    }
    for (status, code), response in answers.items():
        error = response.json()["error"]
        assert (response.status_code, error["code"]) == (status, code)
        assert error["message"]
        assert error["type"] == "invalid_request_error"
    for query, param in {
        "after=x": "after", "limit=101": "limit", "limit=x": "limit", "order=up": "order",
    }.items():  # fmt: skip
        for of in ("/v1/evals", path.rsplit("/", 1)[0], f"{path}/output_items"):
            response = await client.get(f"{of}?{query}")
            assert (response.status_code, response.json()["error"]["param"]) == (400, param)
    assert (await client.get(f"{path}/output_items?status=odd")).status_code == 400
    assert (await client.get(f"{path.rsplit('/', 1)[0]}?status=odd")).status_code == 400


async def test_a_large_body_is_taken_and_a_larger_one_is_not(start):
    api = await start(eval_body_bytes=8 * 1024 * 1024)
    questions = [{"text": f"{number} " + "x" * 400} for number in range(10_000)]
    made = await api.client.post("/v1/evals", json=eval_body(questions=questions))
    assert made.status_code == 201
    assert made.json()["question_count"] == 10_000
    refused = await api.client.post("/v1/evals", content=b" " * (8 * 1024 * 1024 + 1))
    assert (refused.status_code, refused.json()["error"]["code"]) == (413, "body_too_large")


async def test_without_redis_it_says_so(api, redis_server):
    redis_server.kill()
    response = await api.client.get("/v1/evals")
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) >= 1


@pytest.mark.parametrize("token", [TOKEN, ""])
async def test_beyond_loopback_only_the_fleet_may_ask(start, token):
    api = await start(open_to_all=False, token=token)
    right = {"authorization": f"Bearer {token or 'x'}"}
    wrong = [{}, {"authorization": "Bearer y"}, {"authorization": token or "Bearer"}]
    for headers in [*wrong, *([] if token else [right])]:
        for path in ("/v1/evals", "/v1/evals/x/runs", "/v1/"):
            refused = await api.client.get(path, headers=headers)
            assert refused.status_code == 401
            assert refused.headers["www-authenticate"] == "Bearer"
    if token:
        assert (await api.client.get("/v1/evals", headers=right)).status_code == 200
        twice = [("authorization", right["authorization"])] * 2
        assert (await api.client.get("/v1/evals", headers=twice)).status_code == 401


async def test_on_loopback_pages_of_other_sites_may_not_ask(api):
    for headers in ({"origin": "https://evil.example"}, {"host": "evil.example"}):
        refused = await api.client.post("/v1/evals", json=eval_body(), headers=headers)
        assert refused.status_code == 403
    right = {"authorization": f"Bearer {TOKEN}", "host": "evaluator"}
    assert (await api.client.get("/v1/evals", headers=right)).status_code == 200
    async with httpx.AsyncClient(base_url=api.url, trust_env=False) as client:
        assert (await client.get("/v1/evals")).status_code == 200
