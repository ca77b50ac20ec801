"""A client comes back to any controller with the last event that it has."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from shared.protocol.attach import KEY_HEADER, body_digest
from shared.protocol.event_id import EventId
from shared.protocol.frames import LedgerFrame
from shared.protocol.sse import DONE
from tests.fakes.chat_request import BODY, CHAT, STREAM
from tests.fakes.controller_process import ControllerProcess
from tests.fakes.running_service import TOKEN
from tests.fakes.waiting import eventually
from tests.fakes.worker_app import (
    Cut,
    FakeWorker,
    Refusal,
    answer,
    chunk,
    end,
    start,
    steps,
    tokens,
)

pytestmark = [pytest.mark.redis, pytest.mark.usefixtures("redis_server")]

NO_ANSWER = Refusal(404, b'{"error":{"message":"no","code":"answer_not_found"}}')
REST = (start(), LedgerFrame(2, [[101, 102]]), tokens(3, "c"), end(3))


def back(worker="worker-0", number=2):
    return {"last-event-id": EventId(worker, "chatcmpl-1", number).encode()}


@pytest.fixture
async def fleet(controller, announce):
    async def start_all(*scripts):
        workers = [FakeWorker(s, name=f"worker-{n}") for n, s in enumerate(scripts)]
        for worker in workers:
            await announce(worker)
        await controller.sees(*(worker.name for worker in workers))
        return workers

    return start_all


async def test_the_answer_goes_on_behind_the_event(controller, fleet):
    other, worker = await fleet(answer("fine"), steps(*REST))

    headers = {**back("worker-1"), "x-request-id": "same"}
    response = await controller.client.post(CHAT, json=STREAM, headers=headers)

    assert (response.status_code, response.content) == (200, chunk("c") + DONE)
    assert response.headers["x-llmzoo-continued"] == "1"
    (asked,) = worker.asked
    assert asked.path == "/internal/attach"
    assert asked.json == {
        "answer": "chatcmpl-1",
        "after": 2,
        "key": asked.headers[KEY_HEADER],
        "body_digest": body_digest(STREAM),
    }
    # The controller before may still abort what had the client's id.
    assert asked.headers["x-request-id"].startswith("same.")
    assert not other.asked
    assert await controller.metric("llmzoo_reattachments_total", by="client") == 1
    # The first controller has counted the prompt.
    assert await controller.metric("llmzoo_prompt_tokens_total") == 0
    await controller.idle()


@pytest.mark.parametrize("named", ["worker-0", "gone"])
async def test_whoever_has_the_answer_is_found(controller, fleet, named):
    await fleet(steps(NO_ANSWER), steps(NO_ANSWER), steps(*REST))

    response = await controller.client.post(CHAT, json=STREAM, headers=back(named))

    assert response.content == chunk("c") + DONE


class FakeEvaluator(FakeWorker):
    def record(self):
        return super().record().model_copy(update={"kind": "evaluator"})


async def test_none_but_workers_are_asked(controller, fleet, announce):
    """Whatever service a client names as the one that has its answer."""
    evaluator = FakeEvaluator(steps(*REST), name="evaluator")
    await announce(evaluator)
    await fleet(steps(NO_ANSWER))

    async def seen():
        services = (await controller.client.get("/v1/stats")).json()["services"]
        return "evaluator" in {service["id"] for service in services}

    await eventually(seen)
    response = await controller.client.post(CHAT, json=STREAM, headers=back("evaluator"))

    assert response.status_code == 404
    assert not evaluator.asked


async def test_an_answer_that_nobody_has_is_404(controller, fleet):
    workers = await fleet(steps(NO_ANSWER), steps(NO_ANSWER))

    response = await controller.client.post(CHAT, json=STREAM, headers=back())

    assert response.status_code == 404
    assert response.json()["error"]["code"] == "answer_not_found"
    assert all(worker.asked for worker in workers)
    await controller.idle()


async def test_while_a_worker_cannot_be_asked_it_may_have_the_answer(controller, fleet):
    workers = await fleet(steps(Cut()), steps(NO_ANSWER))

    response = await controller.client.post(CHAT, json=STREAM, headers=back())

    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"
    await controller.idle()
    assert [worker.aborted for worker in workers] == [[], []]


async def test_a_worker_that_begins_elsewhere_is_left(controller, fleet):
    await fleet(steps(start(), LedgerFrame(1, [[101]]), tokens(2, "b"), end(2)))

    response = await controller.client.post(CHAT, json=STREAM, headers=back())

    assert response.status_code == 503
    await controller.idle()


async def test_another_request_is_refused_as_the_worker_says(controller, fleet):
    body = b'{"error":{"message":"another body","param":"body_digest"}}'
    await fleet(steps(Refusal(400, body)))

    response = await controller.client.post(CHAT, json=STREAM, headers=back())

    assert (response.status_code, response.content) == (400, body)
    await controller.idle()


@pytest.mark.parametrize(
    ("body", "last_event"),
    [
        (BODY, "worker-0.chatcmpl-1.2"),
        (STREAM, "7"),
        (STREAM, "worker-0.chatcmpl-1.-2"),
        (STREAM, "worker-0.chatcmpl-1.99999999999"),
        (STREAM, "..1"),
        (STREAM, "x" * 600 + ".y.1"),
    ],
)
async def test_what_is_no_event_of_a_stream_is_refused(controller, fleet, body, last_event):
    (worker,) = await fleet(answer("fine"))

    response = await controller.client.post(CHAT, json=body, headers={"last-event-id": last_event})

    assert response.status_code == 400
    assert response.json()["error"]["param"] == "Last-Event-ID"
    assert not worker.asked


async def test_what_was_taken_over_can_lose_its_worker_as_well(controller, fleet):
    def resumed(asked):
        assert asked.path == "/internal/resume"
        assert asked.json["token_ids"] == [[101, 102, 103]]
        assert asked.json["last_sequence_number"] == 3
        return [start(), tokens(4, "d"), end(4)]

    def held(asked):
        first = asked.json["after"] == 2
        return [*REST[:3], Cut()] if first else [NO_ANSWER]

    await fleet(held, resumed)

    response = await controller.client.post(CHAT, json=STREAM, headers=back())

    assert response.content == chunk("c") + chunk("d") + DONE


async def test_what_a_controller_leaves_at_its_end_is_left_to_others(
    redis_server, announce, tmp_path
):
    """Its client is cut off, the worker is not told to abort, and no fault is logged."""
    log = tmp_path / "controller.log"
    controller = ControllerProcess(
        log,
        redis_url=redis_server.url,
        internal_token=TOKEN,
        heartbeat_interval=0.1,
        heartbeat_ttl=1.0,
        drain_timeout=1,
        call_store_dir=tmp_path / "calls",
    )
    worker = FakeWorker(steps(start(), tokens(1, "a"), asyncio.Event()))
    await announce(worker)
    await controller.start()
    try:
        async with controller.client.stream("POST", CHAT, json=STREAM) as response:
            pieces = response.aiter_raw()
            assert await anext(pieces) == chunk("a")
            ending = asyncio.create_task(controller.end())
            with pytest.raises(httpx.TransportError):
                async for _ in pieces:
                    pass
        assert await ending == 0
    finally:
        await controller.stop()
    assert worker.aborted == []
    assert "Traceback" not in log.read_text()
    assert "rror" not in log.read_text()
