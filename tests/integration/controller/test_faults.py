"""What a client sees when workers fail: nothing before the first frame, an honest error after."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from services.controller.relay.event_relay import BEATS, KEEPALIVE
from shared.protocol.frames import ErrorFrame, KeepaliveFrame, TokensFrame, encode
from shared.protocol.sse import DONE, SSEDecoder
from tests.fakes.chat_request import BODY, CHAT, STREAM
from tests.fakes.worker_app import (
    Cut,
    FakeWorker,
    Refusal,
    Silence,
    answer,
    chunk,
    end,
    http_chunk,
    start,
    steps,
    tokens,
    unary_body,
)

pytestmark = [pytest.mark.redis, pytest.mark.usefixtures("redis_server")]

EXCEPTION = {"message": "the step failed", "type": "server_error", "param": None, "code": "x"}

# What a worker may do before its first frame, and the reason under which the retry counts.
FAULTS = {
    "reset at once": (steps(Cut()), "upstream_failed"),
    "reset after a keepalive": (steps(KeepaliveFrame(), Cut()), "upstream_failed"),
    "status 500": (steps(Refusal(500)), "upstream_failed"),
    "status 503": (steps(Refusal(503)), "unavailable"),
    "status 429": (steps(Refusal(429, headers={"retry-after": "7"})), "overloaded"),
    "status 401": (steps(Refusal(401)), "upstream_failed"),
    "no frames": (steps(Refusal(200, b"{}")), "upstream_failed"),
    "a malformed frame": (steps(http_chunk(b"\0\0\0\1\xee")), "upstream_failed"),
    "no HTTP chunk": (steps(b"zzz\r\n"), "upstream_failed"),
    "tokens before start": (steps(tokens(1, "x"), end(1)), "upstream_failed"),
    "an end without frames": (steps(b""), "upstream_failed"),
    "error frame 500": (steps(ErrorFrame(500, EXCEPTION)), "upstream_failed"),
    "error frame 429": (steps(ErrorFrame(429, EXCEPTION, 2.0)), "overloaded"),
    "silence": (steps(Silence()), "upstream_timeout"),
}


@pytest.fixture
async def controller(start_controller):
    return await start_controller(upstream_timeout=0.3)


@pytest.fixture
async def fleet(controller, announce):
    """A function that announces workers by script; the first is the least loaded."""

    async def start_all(*scripts):
        workers = [FakeWorker(s, name=f"worker-{n}") for n, s in enumerate(scripts)]
        for n, worker in enumerate(workers):
            worker.load = worker.load.model_copy(update={"running": 2 * n, "max_num_seqs": 16})
            await announce(worker)
        await controller.sees(*(worker.name for worker in workers))
        return workers

    return start_all


@pytest.mark.parametrize(("script", "reason"), FAULTS.values(), ids=FAULTS.keys())
async def test_a_fault_before_the_first_frame_is_invisible(controller, fleet, script, reason):
    bad, good = await fleet(script, answer("fine"))

    streamed = await controller.client.post(CHAT, json=STREAM)
    whole = await controller.client.post(CHAT, json=BODY)

    assert (streamed.status_code, streamed.content) == (200, chunk("fine") + DONE)
    assert (whole.status_code, whole.content) == (200, unary_body(["fine"]))
    # On a connection used before, a reset may mean that it was stale: it is tried once more.
    assert len(bad.asked) in {2, 3}
    assert len(good.asked) == 2
    assert await controller.metric("llmzoo_router_retries_total", reason=reason) == 2
    await controller.idle()


async def test_a_worker_that_takes_no_connection_costs_no_request(controller, fleet):
    bad, good = await fleet(answer("bad"), answer("fine"))
    await bad.stop()

    response = await controller.client.post(CHAT, json=BODY)

    assert response.content == unary_body(["fine"])
    assert len(good.asked) == 1
    assert await controller.metric("llmzoo_router_retries_total", reason="unreachable") == 1


async def test_three_workers_are_tried_not_more(controller, fleet):
    workers = await fleet(*[steps(Cut())] * 4)

    response = await controller.client.post(CHAT, json=STREAM)

    assert response.status_code == 502
    assert response.json()["error"]["code"] == "upstream_failed"
    assert [len(worker.asked) for worker in workers] == [1, 1, 1, 0]


async def test_all_full_is_429_with_the_least_retry_after(controller, fleet):
    await fleet(
        steps(Refusal(429, headers={"retry-after": "9"})),
        steps(Refusal(429, headers={"retry-after": "4"})),
        steps(Refusal(503)),
    )

    response = await controller.client.post(CHAT, json=BODY)

    assert response.status_code == 429
    assert response.headers["retry-after"] == "4"
    assert response.json()["error"]["type"] == "rate_limit_error"


@pytest.mark.parametrize("status", [400, 404, 413, 422])
async def test_a_refusal_of_the_request_is_passed_on_and_not_tried_elsewhere(
    controller, fleet, status
):
    body = b'{"error": {"message": "n is bad", "param": "n"}}'
    bad, good = await fleet(steps(Refusal(status, body, {"retry-after": "3"})), answer("fine"))

    response = await controller.client.post(CHAT, json=STREAM)

    assert response.status_code == status
    assert response.content == body
    assert response.headers["retry-after"] == "3"
    assert (len(bad.asked), len(good.asked)) == (1, 0)


async def test_a_refusal_as_first_frame_is_passed_on_as_well(controller, fleet):
    fault = {"message": "too long", "type": "invalid_request_error", "param": "messages"}
    _, good = await fleet(steps(ErrorFrame(400, fault)), answer("fine"))

    response = await controller.client.post(CHAT, json=STREAM)

    assert (response.status_code, response.json()) == (400, {"error": fault})
    assert not good.asked


# What a worker may do after tokens, and the code that the client is told.
LATE_FAULTS = {
    "reset": ([Cut()], "upstream_failed"),
    "silence": ([Silence()], "upstream_timeout"),
    "a malformed frame": ([http_chunk(b"\0\0\0\1\xee")], "upstream_failed"),
    "no HTTP chunk": ([b"zzz\r\n"], "upstream_failed"),
    "an end without 'end'": ([], "upstream_failed"),
    "a gap": ([tokens(4, "late"), end(3)], "upstream_failed"),
    "an error frame": ([ErrorFrame(500, EXCEPTION)], "x"),
}


def broken_off(late):
    """Return the script of an answer that ends so after two tokens, streamed or not."""

    def script(asked):
        if asked.json.get("stream"):
            return [start(), tokens(1, "a"), tokens(2, "b"), *late]
        return [start(), *(TokensFrame(n, 0, (100 + n,), b"") for n in (1, 2)), *late]

    return script


def resumed(asked):
    """Go on with such an answer."""
    if asked.json["body"].get("stream"):
        return [start(), tokens(3, "c"), end(3)]
    return [start(), TokensFrame(3, 0, (103,), b""), end(3, unary_body(["abc"]))]


@pytest.mark.parametrize("body", [STREAM, BODY], ids=["stream", "whole"])
@pytest.mark.parametrize(
    "late", [late for late, code in LATE_FAULTS.values() if code != "x"], ids=list(LATE_FAULTS)[:-1]
)
async def test_after_tokens_another_worker_goes_on(controller, fleet, late, body):
    bad, good = await fleet(broken_off(late), resumed)

    response = await controller.client.post(CHAT, json=body)

    assert response.content == (
        unary_body(["abc"]) if body is BODY else chunk("a") + chunk("b") + chunk("c") + DONE
    )
    (asked,) = good.asked
    assert asked.path == "/internal/resume"
    told = asked.json
    assert told["body"] == body
    assert told["path"] == CHAT
    assert (told["token_ids"], told["last_sequence_number"]) == ([[101, 102]], 2)
    assert told["start"]["id"] == "chatcmpl-1"
    assert await controller.metric("llmzoo_migrations_total", exactness="exact") == 1
    assert await controller.metric("llmzoo_migration_stall_seconds_count") == 1
    await controller.idle()
    assert bad.asked[0].path == CHAT


@pytest.mark.parametrize(("late", "code"), LATE_FAULTS.values(), ids=LATE_FAULTS.keys())
async def test_a_fault_after_tokens_is_told_where_answers_are_not_moved(
    start_controller, announce, late, code
):
    controller = await start_controller(upstream_timeout=0.3, move_attempts=0)
    await announce(FakeWorker(broken_off(late), name="bad"))
    await controller.sees("bad")

    streamed = await controller.client.post(CHAT, json=STREAM)
    whole = await controller.client.post(CHAT, json=BODY)

    # A stream's last event is the error, and there is no [DONE].
    *events, last = SSEDecoder().feed(streamed.content)
    assert [orjson.loads(e)["choices"][0]["delta"]["content"] for e in events] == ["a", "b"]
    assert orjson.loads(last)["error"]["code"] == code
    assert whole.status_code == (500 if code == "x" else 502)
    assert whole.json()["error"]["code"] == code
    await controller.idle()


async def test_a_repeated_frame_is_dropped(controller, fleet):
    await fleet(steps(start(), tokens(1, "a"), tokens(1, "a"), tokens(2, "b"), end(2)))

    response = await controller.client.post(CHAT, json=STREAM)

    assert response.content == chunk("a") + chunk("b") + DONE


async def test_keepalives_keep_a_slow_worker_from_being_silent(controller, fleet):
    script_gates = [asyncio.Event() for _ in range(4)]
    slow = [step for gate in script_gates for step in (KeepaliveFrame(), gate)]
    (worker,) = await fleet(steps(*slow, start(), *slow, tokens(1, "a"), end(1)))

    async def open_gates():
        for gate in script_gates:
            await asyncio.sleep(0.2)  # shorter than the timeout, all together longer
            gate.set()

    opening = asyncio.create_task(open_gates())
    response = await controller.client.post(CHAT, json=STREAM)
    await opening

    assert response.content == chunk("a") + DONE
    assert len(worker.asked) == 1


async def test_bytes_that_make_no_frame_are_silence(controller, fleet):
    """The worker lives by its bytes alone: one of them comes often enough, and no frame ever."""
    frame = encode(tokens(3, "late"))
    gates = [asyncio.Event() for _ in frame]
    dribbled = [
        step
        for gate, at in zip(gates, range(len(frame)), strict=True)
        for step in (http_chunk(frame[at : at + 1]), gate)
    ]
    await fleet(broken_off(dribbled), resumed)

    async def open_gates():
        for gate in gates:
            await asyncio.sleep(0.1)  # shorter than the timeout
            gate.set()

    opening = asyncio.create_task(open_gates())
    async with asyncio.timeout(5):
        response = await controller.client.post(CHAT, json=STREAM)
    opening.cancel()

    assert response.content == chunk("a") + chunk("b") + chunk("c") + DONE
    assert await controller.metric("llmzoo_migrations_total", cause="silence") == 1


async def test_a_client_hears_of_a_worker_that_takes_its_time(controller, fleet):
    beats = [KeepaliveFrame()] * BEATS
    await fleet(steps(start(), *beats[1:], tokens(1, "a"), *beats, tokens(2, "b"), end(2)))

    response = await controller.client.post(CHAT, json=STREAM)

    assert response.content == chunk("a") + KEEPALIVE + chunk("b") + DONE


async def test_a_stale_connection_is_replaced_unseen(controller, fleet):
    (worker,) = await fleet(answer("fine"))
    await controller.client.post(CHAT, json=BODY)
    await worker.stop()
    await worker.start()

    response = await controller.client.post(CHAT, json=BODY)

    assert response.content == unary_body(["fine"])
    assert await controller.metric("llmzoo_router_retries_total") == 0


@pytest.mark.parametrize(
    "garbage",
    [
        b"HTTP/1.1 200 OK\r\n\r\nno length",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n",
        b"HTTP/1.1 429 Full\r\ncontent-length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n",
    ],
)
async def test_an_answer_of_doubtful_framing_ends_its_connection(controller, fleet, garbage):
    (worker,) = await fleet(answer("fine"))
    worker.raw_answer = garbage
    response = await controller.client.post(CHAT, json=BODY)
    assert response.status_code in {429, 502}

    worker.raw_answer = b""
    response = await controller.client.post(CHAT, json=BODY)

    assert response.content == unary_body(["fine"])
    assert worker.accepted >= 2


async def test_a_worker_whose_host_falls_silent_costs_time_and_no_request(
    start_controller, announce
):
    """Its connections stay open and nothing comes: neither frames nor beats."""
    controller = await start_controller(upstream_timeout=30)
    silent, good = (
        FakeWorker(steps(Silence()), name="silent"),
        FakeWorker(answer("fine"), name="good"),
    )
    good.load = good.load.model_copy(update={"running": 3})
    for worker in (silent, good):
        await announce(worker)
    await controller.sees("silent", "good")
    asked = asyncio.create_task(controller.client.post(CHAT, json=BODY))
    await silent.until(lambda: silent.running == 1)

    silent.name = ""  # it cannot even make a record any more

    response = await asyncio.wait_for(asked, 10)
    assert (response.status_code, response.content) == (200, unary_body(["fine"]))
    assert await controller.metric("llmzoo_router_retries_total", reason="upstream_timeout") == 1
    await controller.idle()
    silent.name = "silent"
