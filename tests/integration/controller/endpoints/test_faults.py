"""What a client is told when an external server refuses or fails, and what is sent again."""

from __future__ import annotations

import asyncio
import contextlib
import random

import orjson
import pytest

from shared.protocol.sse import DONE, SSEDecoder, event
from tests.fakes.chat_request import BODY, CHAT
from tests.fakes.external_server import (
    EVENTS,
    EVENTS_HEAD,
    LAST_CHUNK,
    Close,
    always,
    completion,
    delta,
    good,
    stream,
    whole,
)
from tests.fakes.waiting import eventually
from tests.fakes.worker_app import Cut, Silence, http_chunk

pytestmark = [pytest.mark.redis, pytest.mark.usefixtures("redis_server")]

ASK = {**BODY, "model": "ext/big"}
STREAM = {**ASK, "stream": True}
ERROR = {"error": {"message": "n is bad", "type": "x", "param": "n", "code": None}}
OK = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture
async def controller(serving):
    return await serving(timeout=0.4)


# What a server may answer, and the status and code that the client gets.
FAULTS = {
    "401": ([whole(ERROR, 401)], 502, "endpoint_refuses_key"),
    "403": ([whole(ERROR, 403)], 502, "endpoint_refuses_key"),
    "500": ([whole(ERROR, 500)], 502, "upstream_failed"),
    "502": ([whole(b"<html>", 502)], 502, "upstream_failed"),
    "503": ([whole(ERROR, 503, retry_after="7")], 503, "unavailable"),
    "504": ([whole(ERROR, 504)], 504, "upstream_timeout"),
    "a redirect": ([whole(b"", 302, location="http://169.254.169.254/")], 502, "malformed_answer"),
    "a reset": ([Cut()], 502, "upstream_failed"),
    "a close": ([Close()], 502, "upstream_failed"),
    "silence": ([Silence()], 504, "upstream_timeout"),
    "half a head": ([OK, Silence()], 504, "upstream_timeout"),
    "no HTTP": ([b"SSH-2.0-OpenSSH\r\n"], 502, "upstream_failed"),
    "an endless head": ([OK, b"x: y\r\n" * 20_000, Silence()], 502, "upstream_failed"),
    "no JSON": ([whole(b"{")], 502, "malformed_answer"),
    "a list": ([whole(b"[]")], 502, "malformed_answer"),
    "HTML": ([whole(b"<html>", content_type="text/html")], 502, "malformed_answer"),
    "an encoding": ([whole(completion(), content_encoding="gzip")], 502, "malformed_answer"),
    "half a body": ([whole(completion())[:-5], Cut()], 502, "upstream_failed"),
    "half a body and a close": ([whole(completion())[:-5], Close()], 502, "upstream_failed"),
}


async def faults(controller, external, ask, table):
    """Ask once a fault; between two of them a good answer shows that nothing stayed of it."""
    for name, (steps, *expected) in table.items():
        external.script = always(*steps)
        external.asked.clear()
        response = await controller.client.post(CHAT, json=ask)
        assert len(external.asked) == 1, name
        yield name, response, *expected
        external.script = good
        assert (await controller.client.post(CHAT, json=ask)).status_code == 200, name
    await controller.idle()


async def test_faults_of_a_whole_answer(controller, external):
    async for name, response, status, code in faults(controller, external, ASK, FAULTS):
        error = response.json()["error"]
        assert (response.status_code, error["code"]) == (status, code), name
        assert "'ext'" in error["message"], name
        assert "127.0.0.1" not in error["message"], name


# The same before the first event, and what a stream may be that is none.
NO_STREAMS = {
    **{name: FAULTS[name] for name in ("401", "500", "503", "a redirect", "a reset", "silence")},
    "a whole answer": ([whole(completion())], 502, "malformed_answer"),
    "no event": ([EVENTS_HEAD, http_chunk(b"<html><body>")], 502, "malformed_answer"),
    "no chunk": ([EVENTS_HEAD, b"zzz\r\n"], 502, "upstream_failed"),
    "an empty stream": ([EVENTS_HEAD, LAST_CHUNK], 502, "upstream_failed"),
    "a cut before events": ([EVENTS_HEAD, Cut()], 502, "upstream_failed"),
    "a cut in the first": ([EVENTS_HEAD, http_chunk(b'data: {"a'), Cut()], 502, "upstream_failed"),
    "silence after the head": ([EVENTS_HEAD, Silence()], 504, "upstream_timeout"),
}


async def test_faults_before_the_first_event_have_a_status(controller, external):
    async for name, response, status, code in faults(controller, external, STREAM, NO_STREAMS):
        assert (response.status_code, response.json()["error"]["code"]) == (status, code), name


LATE_FAULTS = {
    "a reset": ([Cut()], "upstream_failed"),
    "a reset within an event": ([http_chunk(b'data: {"cho'), Cut()], "upstream_failed"),
    "silence": ([Silence()], "upstream_timeout"),
    "no chunk": ([b"zzz\r\n"], "upstream_failed"),
    "no event": ([http_chunk(b"<html>\n\n")], "malformed_answer"),
    "binary": ([http_chunk(b"\0\1\2\3\4\5\6\7")], "malformed_answer"),
    "no [DONE]": ([LAST_CHUNK], "upstream_failed"),
}


async def test_faults_after_events_are_the_last_event(controller, external):
    begun = (EVENTS_HEAD, http_chunk(delta("a")), http_chunk(delta("b")))
    table = {name: ((*begun, *late), code) for name, (late, code) in LATE_FAULTS.items()}
    async for name, response, code in faults(controller, external, STREAM, table):
        assert response.content.startswith(delta("a") + delta("b")), name
        *_, last = events = list(SSEDecoder().feed(response.content))
        assert len(events) == 3, name
        assert orjson.loads(last)["error"]["code"] == code, name


async def test_a_servers_own_error_event_is_told_once(controller, external):
    external.script = always(*stream(delta("a"), event(ERROR)))

    response = await controller.client.post(CHAT, json=STREAM)

    assert response.content == delta("a") + event(ERROR)
    failed = await controller.metric("llmzoo_endpoint_requests_total", outcome="failed")
    assert failed == 1


async def test_a_close_without_length_is_no_end_of_a_stream(controller, external):
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
    external.script = always(head, delta("a"), Close())

    response = await controller.client.post(CHAT, json=STREAM)

    assert DONE not in response.content
    assert b'"error"' in response.content


@pytest.mark.parametrize("ask", [ASK, STREAM], ids=["unary", "stream"])
async def test_refusals_of_the_request_are_passed_on(controller, external, ask):
    for status in (400, 402, 404, 409, 413, 422):
        external.script = always(whole(ERROR, status))
        response = await controller.client.post(CHAT, json=ask)
        assert (response.status_code, response.json()) == (status, ERROR)
    assert len(external.asked) == 6


async def test_a_refusal_that_is_no_json_becomes_an_error_object(controller, external):
    external.script = always(whole(b"<script>", 404, content_type="text/html"))

    response = await controller.client.post(CHAT, json=ASK)

    assert response.status_code == 404
    assert response.headers["content-type"] == "application/json"
    assert "'ext'" in response.json()["error"]["message"]


async def test_429_is_passed_on_with_retry_after(controller, external):
    for told, passed in (("30", "30"), ("2.5", "3"), (None, "1"), ("x", "1")):
        headers = {} if told is None else {"retry_after": told}
        external.script = always(whole(ERROR, 429, **headers))
        response = await controller.client.post(CHAT, json=ASK)
        assert (response.status_code, response.json()) == (429, ERROR)
        assert response.headers["retry-after"] == passed
    assert len(external.asked) == 4


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("ask", [ASK, STREAM], ids=["unary", "stream"])
async def test_a_short_wait_is_waited_for(controller, external, status, ask):
    def script(asked):
        busy = len(external.asked) == 1
        return [whole(ERROR, status, retry_after="0.05")] if busy else good(asked)

    external.script = script

    response = await controller.client.post(CHAT, json=ask)

    assert response.status_code == 200
    assert len(external.asked) == 2
    assert await controller.metric("llmzoo_endpoint_retries_total") == 1


async def test_three_tries_and_no_more(controller, external):
    external.script = always(whole(ERROR, 429, retry_after="0"))

    response = await controller.client.post(CHAT, json=ASK)

    assert (response.status_code, len(external.asked)) == (429, 3)


async def test_retries_have_a_budget(controller, external):
    external.script = always(whole(ERROR, 429, retry_after="0"))
    for _ in range(20):
        await controller.client.post(CHAT, json=ASK)

    # Two retries a call until the ten of the start and a tenth a call are used up.
    assert 30 <= len(external.asked) <= 32


async def test_a_server_that_is_not_there_is_tried_again(controller, external):
    async def retries():
        return await controller.metric("llmzoo_endpoint_retries_total")

    async def start_after_a_retry():
        await eventually(lambda: retried(3))
        await external.start()

    async def retried(times):
        return await retries() >= times

    await external.stop()
    response = await controller.client.post(CHAT, json=ASK)
    assert (response.status_code, await retries()) == (502, 2)

    starting = asyncio.create_task(start_after_a_retry())
    response = await controller.client.post(CHAT, json=ASK)
    await starting
    assert response.status_code == 200


async def test_a_call_that_may_have_run_is_not_sent_again_on_a_stale_connection(
    controller, external
):
    await controller.client.post(CHAT, json=ASK)
    external.script = always(Cut())

    response = await controller.client.post(CHAT, json=ASK)

    assert response.status_code == 502
    assert len(external.asked) == 2


async def test_a_server_that_fails_again_and_again_is_put_aside(controller, external):
    external.script = always(whole(ERROR, 500))
    for _ in range(5):
        assert (await controller.client.post(CHAT, json=ASK)).status_code == 502

    response = await controller.client.post(CHAT, json=ASK)

    assert (response.status_code, response.json()["error"]["code"]) == (503, "endpoint_put_aside")
    assert 1 <= int(response.headers["retry-after"]) <= 2
    assert len(external.asked) == 5
    (listed,) = (await controller.client.get("/v1/models")).json()["data"]
    assert listed["state"] == "unavailable"
    assert await controller.metric("llmzoo_endpoint_put_aside", endpoint="ext") == 1

    # After the cool-down one probe goes, and its success lets all go again.
    external.script = good

    async def answered():
        return (await controller.client.post(CHAT, json=ASK)).is_success

    await eventually(answered)
    assert len(external.asked) == 6
    (listed,) = (await controller.client.get("/v1/models")).json()["data"]
    assert listed["state"] == "ready"


async def test_refusals_put_nothing_aside(controller, external):
    for status in (400, 401, 429) * 4:
        external.script = always(whole(ERROR, status))
        await controller.client.post(CHAT, json=ASK)

    external.script = good
    assert (await controller.client.post(CHAT, json=ASK)).status_code == 200


@contextlib.asynccontextmanager
async def asking(controller, body):
    """A client on a bare socket that has asked."""
    raw = orjson.dumps(body)
    reader, writer = await asyncio.open_connection("127.0.0.1", controller.port)
    head = f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(raw)}\r\n\r\n"
    writer.write(head.encode() + raw)
    try:
        yield reader
    finally:
        writer.transport.abort()


GONE = {
    "before the head": (ASK, [Silence()]),
    "before the head of a stream": (STREAM, [Silence()]),
    "within a body": (ASK, [whole(completion())[:-5], Silence()]),
    "within a stream": (STREAM, [EVENTS_HEAD, http_chunk(EVENTS[0]), Silence()]),
}


@pytest.mark.parametrize(("ask", "steps"), GONE.values(), ids=GONE.keys())
async def test_a_client_that_leaves_ends_the_call_there(serving, external, ask, steps):
    controller = await serving(timeout=60)
    external.script = always(*steps)
    async with asking(controller, ask):
        await external.until(lambda: external.running == 1)

    await external.until(lambda: external.running == 0)
    await controller.idle()
    assert await controller.metric("llmzoo_endpoint_requests_total", outcome="left") == 1
    assert await controller.metric("llmzoo_endpoint_inflight") == 0


async def test_the_servers_error_message_is_told(controller, external):
    external.script = always(whole({"error": {"message": "the disk is full."}}, 500))

    response = await controller.client.post(CHAT, json=ASK)

    assert "the disk is full" in response.json()["error"]["message"]


async def test_random_aborts_leave_nothing(serving, external):
    controller = await serving(max_concurrency=4, timeout=60)
    rng = random.Random(7)
    expected = b"".join(EVENTS)
    numbers = iter(range(150))

    async def client():
        for number in numbers:
            async with asking(controller, {**ASK, "stream": number % 3 > 0}) as reader:
                with contextlib.suppress(asyncio.IncompleteReadError):
                    await reader.readexactly(rng.randrange(len(expected)))

    await asyncio.gather(*(client() for _ in range(10)))

    await controller.idle()
    await external.until(lambda: external.running == 0)
    for gauge in ("inflight", "waiting", "put_aside"):
        assert await controller.metric(f"llmzoo_endpoint_{gauge}", endpoint="ext") == 0
    answers = await asyncio.gather(*(controller.client.post(CHAT, json=STREAM) for _ in range(4)))
    assert [answer.content for answer in answers] == [expected] * 4
