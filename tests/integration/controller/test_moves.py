"""Answers that change their worker: why, how often, for how long, and at whose wish."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import httpx
import orjson
import pytest

from shared.errors import TakenOver
from shared.protocol.attach import KEY_HEADER
from shared.protocol.frames import HANDED_BACK, ErrorFrame, LedgerFrame, TokensFrame, encode
from shared.protocol.sse import DONE, SSEDecoder
from tests.fakes.chat_request import BODY, CHAT, STREAM
from tests.fakes.worker_app import (
    Cut,
    FakeWorker,
    Refusal,
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

ATTACH, RESUME = "/internal/attach", "/internal/resume"
ABC = chunk("a") + chunk("b") + chunk("c") + DONE
NO_ANSWER = Refusal(404, b'{"error":{"message":"no","code":"answer_not_found"}}')


def error_frame(code, status=503):
    return ErrorFrame(status, {"message": "no more", "type": "server_error", "code": code})


def begins(*then, start_frame=None):
    """Return the script of a worker that gives two tokens, then `then`; it knows no attach."""

    def script(asked):
        if asked.path == ATTACH:
            return [NO_ANSWER]
        if asked.json.get("stream"):
            return [start_frame or start(), tokens(1, "a"), tokens(2, "b"), *then]
        return [start(), *(TokensFrame(n, 0, (100 + n,), b"") for n in (1, 2)), *then]

    return script


def goes_on(*then, start_frame=None):
    """Return the script of a worker that gives the third token, then `then` or the end."""

    def script(asked):
        if asked.path != RESUME:
            return [NO_ANSWER] if asked.path == ATTACH else answer("a", "b", "c")(asked)
        if asked.json["body"].get("stream"):
            return [start_frame or start(), tokens(3, "c"), *(then or [end(3)])]
        return [start(), TokensFrame(3, 0, (103,), b""), *(then or [end(3, unary_body(["abc"]))])]

    return script


@pytest.fixture
async def fleet(announce):
    """A function that announces workers by script, the first of them the least loaded."""

    async def start_all(controller, *scripts, fingerprints=()):
        workers = [FakeWorker(s, name=f"worker-{n}") for n, s in enumerate(scripts)]
        for n, worker in enumerate(workers):
            worker.load = worker.load.model_copy(update={"running": 2 * n, "max_num_seqs": 16})
            if fingerprints:
                worker.fingerprint = fingerprints[n]
            await announce(worker)
        await controller.sees(*(worker.name for worker in workers))
        return workers

    return start_all


async def ask(controller, body=STREAM, **headers):
    """Ask under a known id, in the background."""
    sent = {"x-request-id": "asked", **headers}
    return asyncio.create_task(controller.client.post(CHAT, json=body, headers=sent))


async def running(controller, tokens_there=2):
    """Wait until the answer has so many tokens, and return its entry."""
    async with asyncio.timeout(10):
        while True:
            listed = (await controller.client.get("/admin/requests")).json()["data"]
            if listed and listed[0]["tokens"] == tokens_there:
                return listed[0]
            await asyncio.sleep(0.01)


def error_of(response: httpx.Response):
    *_, last = SSEDecoder().feed(response.content)
    return orjson.loads(last)["error"]


async def test_an_operator_moves_an_answer(controller, fleet):
    here, there = await fleet(controller, begins(asyncio.Event()), goes_on())
    asked = await ask(controller)
    entry = await running(controller)

    response = await controller.client.post("/admin/requests/asked/move")

    assert (entry["id"], entry["answer"]) == ("asked", "chatcmpl-1")
    assert (entry["worker"], entry["stream"], entry["losses"]) == ("worker-0", True, 0)
    assert response.json() == {
        "id": "asked",
        "object": "request",
        "from": "worker-0",
        "to": "worker-1",
        "exact": True,
    }
    assert (await asked).content == ABC
    await here.until(lambda: here.aborted == ["asked"])
    assert here.aborted_for == {here.asked[0].headers[KEY_HEADER]}
    assert there.asked[0].headers["x-request-id"] == "asked.1"
    assert await controller.metric("llmzoo_migrations_total", cause="operator") == 1
    assert (await controller.client.get("/admin/requests")).json()["data"] == []
    await controller.idle()


async def test_a_whole_answer_is_moved_by_its_own_id_to_a_certain_worker(controller, fleet):
    _, other, wanted = await fleet(controller, begins(asyncio.Event()), goes_on(), goes_on())
    asked = await ask(controller, BODY)
    await running(controller)

    moved = await controller.client.post(
        "/admin/requests/chatcmpl-1/move", json={"worker": "worker-2"}
    )

    assert moved.json()["to"] == "worker-2"
    assert (await asked).content == unary_body(["abc"])
    assert (len(other.asked), len(wanted.asked)) == (0, 1)


async def test_a_wish_that_cannot_be_granted_costs_nothing(controller, fleet):
    gate = asyncio.Event()
    await fleet(controller, begins(gate, tokens(3, "c"), end(3)))
    asked = await ask(controller)
    await running(controller)

    async def move(request_id="asked", **body):
        url = f"/admin/requests/{request_id}/move"
        response = await controller.client.post(url, json=body)
        error = response.json()["error"]
        return response.status_code, error["param"]

    assert await move("nobody") == (404, "request_id")
    assert await move(worker="worker-0") == (400, "worker")
    assert await move(worker="worker-9") == (400, "worker")
    assert await move(place="x") == (400, "place")
    assert (await move())[0] == 503
    gate.set()
    assert (await asked).content == ABC


async def test_a_refused_move_leaves_the_answer_where_it_is(controller, fleet):
    gate = asyncio.Event()
    await fleet(controller, begins(gate, tokens(3, "c"), end(3)), steps(Refusal(409)))
    asked = await ask(controller)
    await running(controller)

    assert (await controller.client.post("/admin/requests/asked/move")).status_code == 502
    gate.set()
    assert (await asked).content == ABC


@pytest.mark.parametrize("code", [HANDED_BACK, "engine_fault"])
@pytest.mark.parametrize("body", [STREAM, BODY], ids=["stream", "whole"])
async def test_what_a_worker_gives_up_goes_on_elsewhere(controller, fleet, code, body):
    here, _ = await fleet(controller, begins(error_frame(code)), goes_on())

    response = await controller.client.post(CHAT, json=body)

    assert response.content == (ABC if body is STREAM else unary_body(["abc"]))
    assert await controller.metric("llmzoo_migrations_total", cause=code) == 1
    # It said so itself: there is nothing to be aborted.
    await controller.idle()
    assert here.aborted == []


async def test_a_hand_back_is_no_loss(start_controller, fleet):
    controller = await start_controller(move_attempts=0)
    await fleet(controller, begins(error_frame(HANDED_BACK)), goes_on())

    assert (await controller.client.post(CHAT, json=STREAM)).content == ABC


async def test_a_request_that_harms_engines_meets_two_of_them_at_most(controller, fleet):
    fault = error_frame("engine_fault", 500)
    *_, third = await fleet(controller, begins(fault), goes_on(fault), goes_on())

    response = await controller.client.post(CHAT, json=STREAM)

    assert error_of(response)["code"] == "engine_fault"
    assert DONE not in response.content
    assert not third.asked


async def test_an_answer_that_was_taken_over_is_left(controller, fleet):
    _, other = await fleet(controller, begins(error_frame("taken_over", 409)), goes_on())

    response = await controller.client.post(CHAT, json=STREAM)

    assert error_of(response)["code"] == TakenOver.default_code
    assert not other.asked


async def test_a_lost_connection_alone_is_opened_again(controller, fleet):
    def script(asked):
        if asked.path == ATTACH:
            assert asked.json["after"] == 2
            return [start(), LedgerFrame(2, [[101, 102]]), tokens(3, "c"), end(3)]
        return begins(Cut())(asked)

    worker, other = await fleet(controller, script, goes_on())

    assert (await controller.client.post(CHAT, json=STREAM)).content == ABC
    assert [asked.path for asked in worker.asked] == [CHAT, ATTACH]
    assert not other.asked
    assert await controller.metric("llmzoo_reattachments_total", by="connection") == 1
    await controller.idle()
    assert worker.aborted == []


@pytest.mark.parametrize(
    "attached",
    [
        [start(), LedgerFrame(1, [[101]]), tokens(2, "b"), tokens(3, "c"), end(3)],
        [start(), tokens(3, "c"), end(3)],
        [start(), Cut()],
        [error_frame(HANDED_BACK)],
    ],
    ids=["another account", "no account", "cut", "handed back"],
)
async def test_a_worker_that_does_not_attach_as_it_should_is_left(controller, fleet, attached):
    worker, _ = await fleet(
        controller, lambda a: attached if a.path == ATTACH else begins(Cut())(a), goes_on()
    )

    assert (await controller.client.post(CHAT, json=STREAM)).content == ABC
    assert worker.asked[1].path == ATTACH


async def test_the_only_worker_is_waited_for(controller, fleet, announce):
    (worker,) = await fleet(controller, begins(asyncio.Event()))
    asked = await ask(controller)
    await running(controller)

    await worker.stop()
    await announce(FakeWorker(goes_on(), name="later"))

    assert (await asyncio.wait_for(asked, 10)).content == ABC


async def test_the_wait_ends_and_says_why(start_controller, fleet):
    controller = await start_controller(move_timeout=0.3)
    (worker,) = await fleet(controller, begins(asyncio.Event()))
    streamed = await ask(controller)
    await running(controller)
    await worker.stop()

    response = await asyncio.wait_for(streamed, 10)

    error = error_of(response)
    assert error["code"] == "upstream_failed"
    assert "broke off" in error["message"]
    assert "could not go on elsewhere" in error["message"]
    assert DONE not in response.content
    failed = await controller.metric("llmzoo_migrations_failed_total", reason="no_worker")
    assert failed == 1
    await controller.idle()


async def test_the_clients_time_bounds_the_wait(controller, fleet):
    (worker,) = await fleet(controller, begins(asyncio.Event()))
    asked = await ask(controller, **{"x-request-timeout": "1"})
    await running(controller)
    await worker.stop()

    response = await asyncio.wait_for(asked, 10)

    assert error_of(response)["code"] == "deadline_exceeded"


async def test_a_client_that_leaves_meanwhile_leaves_nothing(controller, fleet):
    (worker,) = await fleet(controller, begins(asyncio.Event()))
    asked = await ask(controller)
    await running(controller)
    await worker.stop()
    asked.cancel()

    await controller.idle()
    assert (await controller.client.get("/admin/requests")).json()["data"] == []


LIMITS = {
    "attempts": ({"move_attempts": 1}, begins(Cut()), goes_on(Cut())),
    "length": ({"move_tokens": 1}, begins(Cut()), goes_on()),
    "age": ({"move_age": 0.001}, begins(Cut()), goes_on()),
}


@pytest.mark.parametrize(("reason"), LIMITS)
async def test_what_has_been_through_too_much_ends(start_controller, fleet, reason):
    settings, *scripts = LIMITS[reason]
    controller = await start_controller(**settings)
    await fleet(controller, *scripts)

    response = await controller.client.post(CHAT, json=STREAM)

    assert error_of(response)["code"] == "upstream_failed"
    assert await controller.metric("llmzoo_migrations_failed_total", reason=reason) == 1
    await controller.idle()


async def test_a_worker_that_is_alike_is_preferred_to_a_free_one(controller, fleet):
    _, free, alike = await fleet(
        controller, begins(Cut()), goes_on(), goes_on(), fingerprints=("f", "g", "f")
    )

    assert (await controller.client.post(CHAT, json=STREAM)).content == ABC
    assert (len(free.asked), len(alike.asked)) == (0, 1)


async def test_another_kind_of_worker_goes_on_and_it_is_said(controller, fleet):
    other = replace(start(), fingerprint="g")
    await fleet(controller, begins(Cut()), goes_on(start_frame=other), fingerprints=("f", "g"))

    response = await controller.client.post(CHAT, json=STREAM)

    assert b": continued by a worker of another kind\n\n" in response.content
    assert [orjson.loads(e) for e in SSEDecoder().feed(response.content) if e != b"[DONE]"] == [
        orjson.loads(piece.removeprefix(b"data: ")) for piece in map(chunk, "abc")
    ]
    assert await controller.metric("llmzoo_migrations_total", exactness="inexact") == 1


async def test_in_deterministic_mode_only_the_like_go_on(start_controller, fleet):
    controller = await start_controller(move_timeout=0.2)
    strict = replace(start(), deterministic=True)
    _, other = await fleet(
        controller, begins(Cut(), start_frame=strict), goes_on(), fingerprints=("f", "g")
    )

    response = await controller.client.post(CHAT, json=STREAM)

    assert error_of(response)["code"] == "upstream_failed"
    assert not other.asked


async def test_two_losses_in_turn(controller, fleet):
    def third(asked):
        assert asked.json["token_ids"] == [[101, 102, 103]]
        return [start(), tokens(4, "d"), end(4)]

    await fleet(controller, begins(Cut()), goes_on(Cut()), third)

    response = await controller.client.post(CHAT, json=STREAM)

    assert response.content == ABC.removesuffix(DONE) + chunk("d") + DONE
    assert await controller.metric("llmzoo_migrations_total", cause="connection") == 2


async def test_a_whole_answer_that_cannot_be_resumed_begins_anew(controller, fleet):
    """Its logprobs would have to be computed again, and the tokens came out otherwise."""

    def resumes_and_differs(asked):
        if asked.path == RESUME:
            return [start(), error_frame("continuation_differs", 500)]
        return answer("x", "y")(asked)

    await fleet(controller, begins(Cut()), resumes_and_differs, answer("x", "y"))

    response = await controller.client.post(CHAT, json=BODY)

    assert response.content == unary_body(["x", "y"])
    assert await controller.metric("llmzoo_migrations_total", cause="differs") == 1


async def test_a_stream_that_cannot_be_resumed_says_so(controller, fleet):
    await fleet(
        controller,
        begins(Cut()),
        lambda _: [start(), error_frame("continuation_differs", 500)],
    )

    response = await controller.client.post(CHAT, json=STREAM)

    assert error_of(response)["code"] == "continuation_differs"
    assert DONE not in response.content


@pytest.mark.parametrize("body", [STREAM, BODY], ids=["stream", "whole"])
async def test_a_broken_frame_before_broken_http_is_no_wait(controller, fleet, body):
    """The fault comes with the bytes of half a frame, and is told but once."""
    gate = asyncio.Event()
    half = http_chunk(encode(tokens(3, "c"))[:9])
    await fleet(controller, begins(gate, half + b"no length\r\n"), goes_on())
    asked = await ask(controller, body)
    await running(controller)

    gate.set()

    response = await asyncio.wait_for(asked, 3)
    assert response.content == (ABC if body is STREAM else unary_body(["abc"]))


async def test_an_operator_hears_of_an_answer_that_ends_before_it_moves(controller, fleet):
    await fleet(controller, begins(asyncio.Event()), steps(asyncio.Event()))
    asked = await ask(controller)
    await running(controller)
    moving = asyncio.create_task(controller.client.post("/admin/requests/asked/move"))
    await asyncio.sleep(0.1)

    asked.cancel()

    response = await asyncio.wait_for(moving, 3)
    assert response.status_code == 410
    assert response.json()["error"]["param"] == "request_id"
    await controller.idle()


async def test_what_moves_is_not_counted_as_the_controllers_own_time(controller, fleet):
    await fleet(controller, begins(Cut()), goes_on())

    assert (await controller.client.post(CHAT, json=STREAM)).content == ABC

    assert await controller.metric("llmzoo_router_overhead_seconds_count") == 1


async def test_each_try_to_go_on_has_an_id_of_its_own(controller, fleet):
    """The abort of one that was lost may come late."""
    tries: list[str] = []

    def script(asked):
        if asked.path != RESUME:
            return begins(Cut())(asked)
        tries.append(asked.headers["x-request-id"])
        return [Refusal(503)] if len(tries) < 3 else goes_on()(asked)

    await fleet(controller, script)

    response = await controller.client.post(CHAT, json=STREAM, headers={"x-request-id": "asked"})

    assert response.content == ABC
    assert len(set(tries)) == len(tries) == 3


KINDS = {"unready": Refusal(503), "full": Refusal(429), "faulty": Refusal(500)}


@pytest.mark.parametrize("refusal", KINDS.values(), ids=KINDS)
async def test_where_nobody_alike_goes_on_any_other_one_does(controller, fleet, refusal):
    def lost(asked):
        return [refusal] if asked.path == RESUME else begins(Cut())(asked)

    other = goes_on(start_frame=replace(start(), fingerprint="g"))
    await fleet(controller, lost, other, steps(refusal), fingerprints=("f", "g", "f"))

    response = await asyncio.wait_for(controller.client.post(CHAT, json=STREAM), 3)

    assert b"another kind" in response.content
    assert response.content.endswith(chunk("c") + DONE)


async def test_who_refused_is_not_asked_again_while_there_are_others(controller, fleet):
    """A worker with less context refuses what another one takes."""

    def refuses(asked):
        return [Refusal(400)] if asked.path == RESUME else begins(Cut())(asked)

    first, second, _ = await fleet(controller, refuses, refuses, goes_on())

    assert (await controller.client.post(CHAT, json=STREAM)).content == ABC
    for worker in (first, second):
        assert sum(asked.path == RESUME for asked in worker.asked) <= 1


async def test_a_place_is_waited_for_within_bounds(start_controller, announce):
    controller = await start_controller(move_timeout=0.3)
    full = FakeWorker(steps(asyncio.Event()), name="full")
    full.load = full.load.model_copy(update={"max_num_seqs": 1, "running": 9})
    for worker in (full, FakeWorker(begins(Cut()), name="lost")):
        await announce(worker)
    await controller.sees("full", "lost")

    response = await asyncio.wait_for(controller.client.post(CHAT, json=STREAM), 3)

    assert error_of(response)["code"] == "upstream_failed"
