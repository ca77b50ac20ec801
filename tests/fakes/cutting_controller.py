"""A controller whose streams break off where a test says, and go on after `Last-Event-ID`.

Every answer is the same transcript. What becomes of a question's connections, one after the
other, stands in its plan; once that is used up, they bring the rest. It speaks HTTP byte by byte.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from shared.protocol.event_id import EventId
from shared.protocol.sse import DONE, event
from tests.fakes.worker_app import Asked, http_chunk, read_request

NOT_FOUND = b'{"error": {"message": "Nobody has this answer.", "code": "answer_not_found"}}'


@dataclass(frozen=True)
class Cut:
    """The connection is lost behind so many bytes of its events."""

    bytes: int
    how: Literal["close", "reset", "end"] = "close"
    """Without the end of the HTTP answer, by a reset, or with the end of the HTTP answer."""


@dataclass(frozen=True)
class Refused:
    """An answer with a status; 0: the connection is closed without any."""

    status: int
    body: bytes = b'{"error": {"message": "Not now."}}'


class Anew:
    """The answer begins again, as at a server that does not know `Last-Event-ID`."""


class Hang:
    """Nothing is answered."""


Reply = Cut | Refused | Anew | Hang


def piece(number: int, *choices: dict[str, Any]) -> bytes:
    """Return the events of one frame, the id at the last one."""
    *before, last = (event({"choices": [choice]}) for choice in choices)
    name = EventId("worker.1", "chatcmpl-7", number).encode()
    return b"".join(before) + f"id: {name}\n".encode() + last


def says(text: str) -> dict[str, Any]:
    return {"index": 0, "delta": {"content": text}, "finish_reason": None}


def transcript(*texts: str) -> list[bytes]:
    """Return the frames of an answer; one between two texts has two events, others have one."""
    role = {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}
    first = piece(1, role, says(texts[0]))
    more = [
        piece(n, says(text)) if n % 2 else piece(n, says(text[:1]), says(text[1:]))
        for n, text in enumerate(texts[1:], 2)
    ]
    finish = event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    usage = event({"choices": [], "usage": {"completion_tokens": len(texts)}})
    return [first, *(b": keepalive\n\n" + frame for frame in more), finish + usage + DONE]


@dataclass
class CuttingController:
    """`plans` are looked up by the last message's text."""

    frames: list[bytes]
    plans: dict[str, Sequence[Reply]] = field(default_factory=dict)
    port: int = 0
    asked: defaultdict[str, list[Asked]] = field(default_factory=lambda: defaultdict(list))
    gone: int = 0
    """Connections that their client closed while they hung."""
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen, the second time on the same port."""
        self._server = await asyncio.start_server(
            self._connected, "127.0.0.1", self.port, backlog=1024
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close the listener and every connection, as a killed process does."""
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._serve(await read_request(reader), reader, writer)
        except asyncio.CancelledError:
            pass  # a stop; asyncio's own server logs what ends in it
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _serve(
        self, asked: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        messages: Any = asked.json["messages"]
        question = messages[-1]["content"]
        before = self.asked[question]
        plan = self.plans.get(question, ())
        reply = plan[len(before)] if len(before) < len(plan) else None
        before.append(asked)
        match reply:
            case Hang():
                await reader.read(1)
                self.gone += 1
            case Refused(status, body):
                if status:
                    head = f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n\r\n"
                    writer.write(head.encode() + body)
                    await writer.drain()
            case _:
                await self._stream(asked, reply, writer)

    async def _stream(
        self, asked: Asked, reply: Cut | Anew | None, writer: asyncio.StreamWriter
    ) -> None:
        after = asked.headers.get("last-event-id", "")
        # The head was read in small letters.
        number = EventId.parse(after.replace("%2e", "%2E")).number if after else 0
        goes_on = bool(after) and not isinstance(reply, Anew)
        body = b"".join(self.frames[number if goes_on else 0 :])
        head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-request-id: r1\r\n"
        head += "x-llmzoo-continued: 1\r\n" if goes_on else ""
        writer.write(f"{head}transfer-encoding: chunked\r\n\r\n".encode())
        if isinstance(reply, Cut) and reply.bytes < len(body):
            await self._lose(body, reply, writer)
            return
        writer.write(http_chunk(body) + http_chunk(b""))
        await writer.drain()

    async def _lose(self, body: bytes, cut: Cut, writer: asyncio.StreamWriter) -> None:
        if cut.bytes:
            writer.write(http_chunk(body[: cut.bytes]))
        if cut.how == "end":
            writer.write(http_chunk(b""))
        await writer.drain()
        if cut.how == "reset":
            linger = struct.pack("ii", 1, 0)
            connection: socket.socket = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
