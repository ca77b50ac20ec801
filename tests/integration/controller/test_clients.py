"""Clients that leave or are slow: the worker hears of it, and nothing is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket

import orjson
import pytest

from shared.protocol.frames import KeepaliveFrame, TokensFrame
from shared.protocol.sse import DONE
from tests.fakes.chat_request import BODY, CHAT
from tests.fakes.waiting import eventually
from tests.fakes.worker_app import FakeWorker, Silence, answer, chunk, end, start, steps, tokens

pytestmark = [pytest.mark.redis, pytest.mark.usefixtures("redis_server")]


def request(body: dict[str, object], request_id: str = "r-1", more: str = "") -> bytes:
    raw = orjson.dumps(body)
    head = f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\nx-request-id: {request_id}\r\n{more}"
    return f"{head}content-length: {len(raw)}\r\n\r\n".encode() + raw


@contextlib.asynccontextmanager
async def connected(controller):
    reader, writer = await asyncio.open_connection("127.0.0.1", controller.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


WAITING = {
    "before any frame": steps(Silence()),
    "after a keepalive": steps(KeepaliveFrame(), Silence()),
    "after start": steps(start(), Silence()),
    "after a token": steps(start(), tokens(1, "a"), Silence()),
    "after a held token": steps(start(), TokensFrame(1, 0, (1,), b""), Silence()),
}


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "unary"])
@pytest.mark.parametrize("script", WAITING.values(), ids=WAITING.keys())
async def test_a_client_that_leaves_ends_its_request_on_the_worker(
    controller, worker, script, stream
):
    worker.script = script
    async with connected(controller) as (_, writer):
        writer.write(request({**BODY, "stream": stream}, "gone-1"))
        await worker.until(lambda: worker.running == 1)

    await worker.until(lambda: worker.aborted == ["gone-1"] and worker.running == 0)
    await controller.idle()
    cancelled = await controller.metric("llmzoo_cancellations_total")
    assert cancelled == 1


@contextlib.contextmanager
def deaf_port():
    """Give a port whose connections neither open nor fail: its queue is full."""
    with contextlib.ExitStack() as sockets:
        listener = sockets.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        port = listener.getsockname()[1]
        for _ in range(4):
            filler = sockets.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        yield port


async def test_a_client_that_leaves_while_its_worker_is_connected_to(start_controller, announce):
    controller = await start_controller(connect_timeout=60)
    stuck = FakeWorker(answer("fine"))

    async def under_way():
        return await controller.metric("llmzoo_inflight_requests") == 1

    with deaf_port() as stuck.port:
        await announce(stuck)
        await controller.sees("worker-1")
        async with connected(controller) as (_, writer):
            writer.write(request(BODY))
            await eventually(under_way)
        await controller.idle()


async def test_a_client_that_leaves_within_its_body_reaches_no_worker(controller, worker):
    async with connected(controller) as (_, writer):
        writer.write(request(BODY)[:-10])
        await writer.drain()

    await controller.idle()
    assert not worker.asked


async def test_an_ended_request_is_not_aborted(controller, worker):
    await controller.client.post(CHAT, json={**BODY, "stream": True})
    await controller.client.post(CHAT, json=BODY)
    await controller.idle()

    assert worker.aborted == []


async def test_random_aborts_leave_nothing_in_flight(controller, worker):
    rng = random.Random(7)
    texts = [f"text {n} " * 50 for n in range(60)]
    worker.script = answer(*texts)
    expected = b"".join(map(chunk, texts)) + DONE

    async def one(number: int) -> None:
        async with connected(controller) as (reader, writer):
            body = {**BODY, "stream": number % 3 > 0}
            writer.write(request(body, f"r-{number}", "connection: close\r\n"))
            with contextlib.suppress(asyncio.IncompleteReadError):
                await reader.readexactly(rng.randrange(len(expected)))

    numbers = iter(range(200))

    async def client() -> None:
        for number in numbers:
            await one(number)

    await asyncio.gather(*(client() for _ in range(10)))

    await controller.idle()
    await worker.until(lambda: worker.running == 0)
    whole = await controller.client.post(CHAT, json={**BODY, "stream": True})
    assert whole.content == expected


async def test_a_slow_client_stops_the_worker_and_not_the_memory(controller, worker):
    text = "x" * 10_000
    sizes = 4_000
    worker.script = answer(*[text] * sizes)
    async with connected(controller) as (reader, writer):
        writer.write(request({**BODY, "stream": True}))
        await reader.readuntil(b"\r\n\r\n")

        # The worker writes until every buffer on the way is full, and then waits.
        sent = -1
        while sent != worker.sent_bytes:
            sent = worker.sent_bytes
            await asyncio.sleep(0.3)
        assert sent < len(text) * sizes / 2
        assert worker.running == 1

        received = 0
        while received < len(text) * sizes:
            received += len(await reader.read(1 << 20))
    await controller.idle()
    assert worker.aborted == []


async def test_a_slow_client_is_not_its_workers_silence(start_controller, announce):
    controller = await start_controller(upstream_timeout=1.0)
    worker = FakeWorker(answer(*["x" * 10_000] * 4_000))
    await announce(worker)
    await controller.sees("worker-1")
    async with connected(controller) as (reader, writer):
        writer.write(request({**BODY, "stream": True}))
        await asyncio.sleep(2.0)  # longer than the timeout

        ending = b""
        while not ending.endswith(b"0\r\n\r\n"):
            piece = await reader.read(1 << 20)
            assert piece, "the stream was cut"
            ending = (ending + piece)[-1000:]
    assert DONE in ending
    assert b'"error"' not in ending


async def test_one_clients_end_leaves_another_of_the_same_id_alone(controller, worker):
    gate = asyncio.Event()
    worker.script = steps(start(), gate, tokens(1, "a"), end(1))
    async with connected(controller) as (_, leaving), connected(controller) as (stays, staying):
        for writer in (leaving, staying):
            writer.write(request({**BODY, "stream": True}, "same"))
        await worker.until(lambda: worker.running == 2)
        leaving.transport.abort()
        await worker.until(lambda: worker.running == 1)
        gate.set()
        assert DONE in await stays.readuntil(DONE)
    assert len(worker.aborted) == 1
