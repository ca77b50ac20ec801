"""`/v1/evals` on the controller: passed on to a ready evaluator as it is, both ways."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter

import httpx
import orjson
import pytest

from shared.protocol.sse import SSEDecoder
from shared.protocol.workers import State
from tests.fakes.fake_evaluator import FakeEvaluator
from tests.fakes.running_service import TOKEN
from tests.fakes.waiting import eventually

pytestmark = [pytest.mark.redis, pytest.mark.usefixtures("redis_server")]

EVALS = "/v1/evals"


async def sees(controller, count):
    """Wait until the controller knows so many ready evaluators."""

    async def seen():
        services = (await controller.stats())["services"]
        ready = [s for s in services if (s["kind"], s["state"]) == ("evaluator", "ready")]
        return len(ready) == count

    await eventually(seen)


@pytest.fixture
async def evaluator(announce, controller):
    evaluator = FakeEvaluator()
    await announce(evaluator)
    await sees(controller, 1)
    return evaluator


@contextlib.asynccontextmanager
async def asking(controller, request):
    reader, writer = await asyncio.open_connection("127.0.0.1", controller.port)
    writer.write(request.encode())
    try:
        yield reader
    finally:
        writer.transport.abort()


HEADERS = {
    "x-request-id": "req-5",
    "last-event-id": "17",
    "accept-language": "de",
    "te": "trailers",
    "connection": "keep-alive, x-once",
    "x-once": "1",
    "x-llmzoo-principal": "forged",
    "x-llmzoo-frames": "1",
    "authorization": "Bearer of-the-client",
    "proxy-authorization": "Basic x",
}


@pytest.mark.usefixtures("redis_server", "evaluator")
async def test_any_method_with_path_and_query(controller):
    path = f"{EVALS}/echo/a%2Fb%20c"
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY"):
        response = await controller.client.request(method, f"{path}?a=1&b=%20&a=2")

        assert response.status_code == 201
        told = response.json()
        assert (told["method"], told["path"], told["query"]) == (method, path, "a=1&b=%20&a=2")


async def test_headers_pass_but_for_those_of_one_connection_and_ours(controller, evaluator):
    response = await controller.client.get(f"{EVALS}/echo", headers=HEADERS)

    got = response.json()["headers"]
    assert got["authorization"] == f"Bearer {TOKEN}"
    assert got["host"] == f"127.0.0.1:{evaluator.port}"
    passed = {"x-request-id", "last-event-id", "accept-language"}
    assert {name: got[name] for name in passed} == {name: HEADERS[name] for name in passed}
    absent = {"te", "x-once", "x-llmzoo-frames", "proxy-authorization"}
    assert not absent & set(got)
    assert got["x-llmzoo-principal"] == "anonymous"
    assert response.headers["x-of-evaluator"] == "1"
    assert "keep-alive" not in response.headers
    assert response.headers.get_list("x-request-id") == ["req-5"]


async def test_head_has_no_body(controller, evaluator):
    for _ in range(2):
        response = await controller.client.head(f"{EVALS}/echo")
        assert (response.status_code, response.content) == (201, b"")
    assert [asked["method"] for asked in evaluator.asked] == ["HEAD", "HEAD"]


async def test_the_path_itself_and_all_below_and_nothing_else(controller, evaluator):
    for path in ("/v1/evals", "/v1/evals/", "/v1/evals/x/runs/y/cancel"):
        assert (await controller.client.post(path, json={})).json()["path"] == path
    evaluator.asked.clear()

    dots = ("/v1/evals/../stats", "/v1/evals/%2e%2e/x", "/v1/evals/..%2fx", "/v1/evals/./x")
    for path in ("/v1/evalsx", *dots):
        async with asking(controller, f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n") as reader:
            assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 404"), path
    assert not evaluator.asked


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "chunked"])
async def test_a_body_arrives_whole(controller, evaluator, announced):
    raw = bytes(range(256)) * 4_000

    async def pieces():
        for at in range(0, len(raw), 10_000):
            yield raw[at : at + 10_000]

    response = await controller.client.post(f"{EVALS}/echo", content=raw if announced else pieces())

    assert response.json()["length"] == len(raw)
    framing = "content-length" if announced else "transfer-encoding"
    assert framing in evaluator.asked[0]["headers"]


async def test_an_upload_goes_at_the_evaluators_pace(controller, evaluator):
    size = 60_000_000
    sent = 0
    reader, writer = await asyncio.open_connection("127.0.0.1", controller.port)
    writer.write(
        f"POST {EVALS}/slow HTTP/1.1\r\nhost: localhost\r\ncontent-length: {size}\r\n\r\n".encode()
    )

    async def upload():
        nonlocal sent
        piece = bytes(100_000)
        while sent < size:
            writer.write(piece)
            await writer.drain()
            sent += len(piece)

    uploading = asyncio.create_task(upload())
    # Buffers fill up, and then everybody waits.
    before = -1
    while before != sent:
        before = sent
        await asyncio.sleep(0.3)
    assert 0 < sent < size / 2

    evaluator.gate.release()
    await uploading
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 201")
    writer.close()
    assert evaluator.received == size


async def test_an_early_refusal_comes_through_before_the_body_is_sent(controller, evaluator):
    reader, writer = await asyncio.open_connection("127.0.0.1", controller.port)
    writer.write(
        f"POST {EVALS}/refuse HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n1234".encode()
    )

    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 413")
    writer.close()
    await evaluator.until(lambda: evaluator.running == 0)


async def test_events_come_as_they_are_made_and_go_on_where_they_were(controller, evaluator):
    headers = {"last-event-id": "40"}
    async with controller.client.stream("GET", f"{EVALS}/events", headers=headers) as response:
        pieces = response.aiter_raw()
        for number in (41, 42, 43):
            evaluator.gate.release()
            assert await anext(pieces) == b"id: %d\ndata: {}\n\n" % number
        assert [piece async for piece in pieces] == []
    assert response.headers["content-type"] == "text/event-stream"


GONE = {
    "while it waits": f"GET {EVALS}/silent HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "within its body": f"POST {EVALS}/echo HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n1234",
    "after its body": f"POST {EVALS}/silent HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4\r\n\r\n1234",
    "within events": f"GET {EVALS}/events HTTP/1.1\r\nhost: localhost\r\n\r\n",
}


@pytest.mark.parametrize("request_text", GONE.values(), ids=GONE.keys())
async def test_a_client_that_leaves_ends_its_request_there(controller, evaluator, request_text):
    async with asking(controller, request_text):
        await evaluator.until(lambda: evaluator.running == 1)

    await evaluator.until(lambda: evaluator.running == 0)
    await controller.idle()


async def test_without_a_ready_evaluator_it_is_503(controller, announce):
    loading = FakeEvaluator()
    loading.state = State.DRAINING
    await announce(loading)

    response = await controller.client.post(EVALS, json={})

    assert response.status_code == 503
    assert int(response.headers["retry-after"]) >= 1
    assert response.json()["error"]["code"] == "no_evaluator"


async def test_an_evaluator_that_is_gone_is_passed_over(controller, announce):
    dead, alive = FakeEvaluator("evaluator-1"), FakeEvaluator("evaluator-2")
    for each in (dead, alive):
        await announce(each)
    await sees(controller, 2)
    await dead.stop()

    for _ in range(6):
        response = await controller.client.post(f"{EVALS}/echo", json={})
        assert response.json()["evaluator"] == "evaluator-2"
    await alive.stop()
    assert (await controller.client.post(f"{EVALS}/echo", json={})).status_code == 503


async def test_the_least_busy_evaluator_is_asked(controller, announce):
    evaluators = [FakeEvaluator(f"evaluator-{number}") for number in range(3)]
    for each in evaluators:
        await announce(each)
    await sees(controller, 3)
    requests = [f"GET {EVALS}/silent HTTP/1.1\r\nhost: localhost\r\n\r\n"] * 6
    async with contextlib.AsyncExitStack() as stack:
        for number, request in enumerate(requests):
            await stack.enter_async_context(asking(controller, request))
            await eventually(lambda n=number: sum(each.running for each in evaluators) == n + 1)
        assert Counter(each.running for each in evaluators) == {2: 3}
    await controller.idle()


async def test_a_break_is_an_error_and_never_a_whole_answer(controller, evaluator):
    with pytest.raises(httpx.RemoteProtocolError):
        await controller.client.get(f"{EVALS}/break")

    evaluator.gate.release()
    response = await controller.client.get(f"{EVALS}/break-events")
    *_, last = SSEDecoder().feed(response.content)
    assert orjson.loads(last)["error"]["code"] == "upstream_failed"
    await controller.idle()


async def test_the_key_that_asks_is_named_to_the_evaluator(start_controller, evaluator):
    controller = await start_controller(api_keys="secret")
    headers = {"authorization": "Bearer secret"}

    async def asked():
        return (await controller.client.get(f"{EVALS}/echo", headers=headers)).status_code == 201

    await eventually(asked)
    assert evaluator.asked[-1]["headers"]["x-llmzoo-principal"].startswith("static_")
