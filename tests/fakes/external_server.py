"""An external server on a real socket, which answers byte by byte as a test tells it.

A script is a function from the request to the steps of the answer:

    bytes            sent as they are
    asyncio.Event    waited for
    Cut              the connection is reset
    Close            the connection is closed in good order
    Silence          nothing more is sent, the connection stays
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Sequence
from typing import Any

import orjson

from shared.protocol.sse import DONE, event
from tests.fakes.worker_app import Asked, Cut, Silence, closed_by_peer, http_chunk, read_request


class Close:
    """The connection ends here, as the end of an answer without a length."""


Step = bytes | asyncio.Event | Cut | Close | Silence
Script = Callable[[Asked], Sequence[Step]]

USAGE = {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16}
EVENTS_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)
LAST_CHUNK = b"0\r\n\r\n"


def whole(body: object, status: int = 200, **headers: str) -> bytes:
    """Return a whole answer; underscores in a header's name stand for hyphens."""
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    fields = {"content-type": "application/json", "content-length": str(len(raw))}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode() + raw


def completion(model: str = "big", text: str = "fine") -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {"id": "c-1", "model": model, "choices": [choice], "usage": USAGE}


def delta(text: str) -> bytes:
    return event({"choices": [{"index": 0, "delta": {"content": text}}], "usage": None})


EVENTS = [delta("a"), delta("b"), event({"choices": [], "usage": USAGE}), DONE]


def stream(*given: bytes | asyncio.Event) -> list[Step]:
    """Return the steps of a good stream, one HTTP chunk an event."""
    steps = [http_chunk(each) if isinstance(each, bytes) else each for each in given]
    return [EVENTS_HEAD, *steps, LAST_CHUNK]


def good(asked: Asked) -> list[Step]:
    """Answer whole or streamed, as it was asked for."""
    return stream(*EVENTS) if asked.json.get("stream") is True else [whole(completion())]


def always(*given: Step) -> Script:
    return lambda _: given


class ExternalServer:
    """Remembers what it was asked, and how many requests are open at once."""

    def __init__(self, script: Script = good, *, tls: ssl.SSLContext | None = None) -> None:
        self.script = script
        self.asked: list[Asked] = []
        self.running = 0
        self.most_running = 0
        self.accepted = 0
        self.sent_bytes = 0
        self.port = 0
        self._tls = tls
        self._changed = asyncio.Condition()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> ExternalServer:
        self._server = await asyncio.start_server(
            self._connected, "127.0.0.1", self.port, ssl=self._tls
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(10), self._changed:
            await self._changed.wait_for(holds)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.accepted += 1
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while await self._serve(await read_request(reader), reader, writer):
                    pass
        except asyncio.CancelledError:
            pass
        finally:
            writer.transport.abort() if task.cancelling() else writer.close()
            self._tasks.discard(task)

    async def _serve(
        self, asked: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Return whether the connection stays."""
        self.asked.append(asked)
        await self._count(1)
        playing = asyncio.create_task(self._play(self.script(asked), writer))
        gone = asyncio.create_task(closed_by_peer(reader))
        try:
            await asyncio.wait({playing, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not playing.done():
                raise ConnectionResetError
            return playing.result()
        finally:
            for task in (playing, gone):
                task.cancel()
            await asyncio.gather(playing, gone, return_exceptions=True)
            await self._count(-1)

    async def _play(self, given: Sequence[Step], writer: asyncio.StreamWriter) -> bool:
        for step in given:
            match step:
                case asyncio.Event():
                    await step.wait()
                case Cut():
                    await writer.drain()
                    writer.transport.abort()
                    raise ConnectionResetError
                case Close():
                    return False
                case Silence():
                    await asyncio.Event().wait()
                case bytes():
                    writer.write(step)
                    self.sent_bytes += len(step)
            await writer.drain()
        return True

    async def _count(self, change: int) -> None:
        self.running += change
        self.most_running = max(self.most_running, self.running)
        async with self._changed:
            self._changed.notify_all()
