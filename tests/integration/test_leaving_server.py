"""A server that is told to stop, as its clients see it: nobody who keeps a connection is cut off."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from subprocess import PIPE

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from shared.http.server import Service
from tests.fakes.command_line import PROJECT
from tests.fakes.running_service import RunningService
from tests.fakes.waiting import eventually

GET = b"GET %b HTTP/1.1\r\nhost: x\r\n\r\n"


class Held:
    """Answers at once, but for `/held`, whose head comes at once and whose end when it is let go."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        headers = [(b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"o", "more_body": True})
        if scope["path"] == "/held":
            await self.go_on.wait()
        await send({"type": "http.response.body", "body": b"k"})


class Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def to(cls, port: int) -> Connection:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    def ask(self, path: bytes = b"/") -> None:
        self._writer.write(GET % path)

    async def head(self) -> bytes:
        return await self._reader.readuntil(b"\r\n\r\n")

    async def body(self) -> bytes:
        return await self._reader.readexactly(2)

    async def answer(self) -> bytes:
        """Return the head of a whole, good answer."""
        head = await self.head()
        assert head.startswith(b"HTTP/1.1 200")
        assert await self.body() == b"ok"
        return head

    async def at_end(self) -> bool:
        return await self._reader.read() == b""

    def close(self) -> None:
        self._writer.close()


@pytest.fixture
async def app() -> Held:
    return Held()


@pytest.fixture
async def server(app: Held) -> AsyncIterator[RunningService]:
    running = await RunningService(lambda _: Service(app, lambda: None), 26_000).listening()
    yield running
    app.go_on.set()
    await running.stop()


async def test_open_connections_are_served_once_more_and_told(
    app: Held, server: RunningService
) -> None:
    fresh, used, answering = [await Connection.to(server.port) for _ in range(3)]
    used.ask()
    assert b"connection" not in await used.answer()
    answering.ask(b"/held")
    assert b"connection" not in await answering.head()

    await server.client.aclose()
    server._server.should_exit = True
    await eventually(lambda: refused(server.port))

    for connection in (fresh, used):
        connection.ask()
        assert b"\r\nconnection: close\r\n" in await connection.answer()
        assert await connection.at_end()
    # Its head went out before: the client cannot know, and asks again.
    app.go_on.set()
    assert await answering.body() == b"ok"
    answering.ask()
    assert b"\r\nconnection: close\r\n" in await answering.answer()
    assert await answering.at_end()
    await asyncio.wait_for(server._task, 2)
    for connection in (fresh, used, answering):
        connection.close()


async def test_who_asks_nothing_more_does_not_hold_it_up(server: RunningService) -> None:
    fresh, used = [await Connection.to(server.port) for _ in range(2)]
    used.ask()
    await used.answer()
    await server.client.aclose()
    server._server.should_exit = True
    await asyncio.wait_for(server._task, 3)
    for connection in (fresh, used):
        assert await connection.at_end()
        connection.close()


TOLD_TWICE = """
import asyncio, sys
from shared.http.server import Service, bind, serve
from tests.integration.test_leaving_server import Held

async def drained():
    await asyncio.to_thread(sys.stdin.readline)

listener = bind("127.0.0.1", 0)
print(listener.url, flush=True)
serve(Service(Held(), lambda: print("drains", flush=True), drained), listener, 20)
"""


def test_who_is_told_to_end_a_second_time_does_not_begin_to_drain_anew() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", TOLD_TWICE], stdin=PIPE, stdout=PIPE, text=True, cwd=PROJECT
    )
    try:
        # Whoever answers has its signals in hand.
        assert (
            httpx.get(process.stdout.readline().strip(), trust_env=False, timeout=20).text == "ok"
        )
        process.terminate()
        assert process.stdout.readline() == "drains\n"
        process.terminate()
        told, _ = process.communicate("go on\n", timeout=20)
    finally:
        process.kill()
        process.communicate()
    assert (told, process.returncode) == ("", 0)


async def refused(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionError:  # a reset: it was in the queue of a socket that was being closed
        return True
    writer.close()
    return False
