"""Frames as anyone but a controller gets them: as server-sent events or one JSON body.

Owns the HTTP answer of a generation and the watch for a client that leaves. Every `send` is
awaited, so a slow reader slows this request and fills no memory.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import suppress

import orjson
from starlette.types import Receive, Send

from services.worker.generation import ABORTED, Generation
from shared.errors import Unavailable
from shared.protocol import sse
from shared.protocol.frames import (
    EndFrame,
    ErrorFrame,
    Frame,
    KeepaliveFrame,
    LedgerFrame,
    StartFrame,
    TokensFrame,
)

_KEEPALIVE = b": keepalive\n\n"

Frames = AsyncIterator[Frame]


class DisconnectWatch:
    """A context that aborts the generation when its client leaves."""

    def __init__(self, receive: Receive, generation: Generation) -> None:
        """Prepare; the request's body was read before."""
        self._receive = receive
        self._generation = generation
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        """Start to watch."""
        self._task = asyncio.create_task(self._watch())

    async def __aexit__(self, *_: object) -> None:
        """Stop watching."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._generation.abort(Unavailable("The client closed the connection.", code=ABORTED))


async def send_events(frames: Frames, send: Send, keepalive_seconds: float = 15.0) -> None:
    """Answer with server-sent events, and a comment when there were none for a while."""
    last_sent = time.monotonic()
    async for frame in frames:
        match frame:
            case StartFrame():
                await begin_body(send, 200, "text/event-stream; charset=utf-8")
            case TokensFrame(data=data):
                if data:
                    await send_body(send, data, more=True)
                    last_sent = time.monotonic()
            case KeepaliveFrame():
                if time.monotonic() - last_sent >= keepalive_seconds:
                    await send_body(send, _KEEPALIVE, more=True)
                    last_sent = time.monotonic()
            case EndFrame(data=data):
                await send_body(send, data, more=False)
            case ErrorFrame():
                await send_body(send, sse.event({"error": frame.error}), more=False)
            case LedgerFrame():
                pass  # for who takes an answer over; none of ours


async def send_whole(frames: Frames, send: Send) -> None:
    """Answer with one JSON body, once it is complete."""
    async for frame in frames:
        match frame:
            case EndFrame(data=data):
                await begin_body(send, 200, "application/json")
                await send_body(send, data, more=False)
            case ErrorFrame():
                await begin_body(send, frame.status, "application/json", frame.retry_after)
                await send_body(send, orjson.dumps({"error": frame.error}), more=False)
            case _:
                pass


async def begin_body(
    send: Send, status: int, media_type: str, retry_after: float | None = None
) -> None:
    """Send the head of an answer."""
    headers = [
        (b"content-type", media_type.encode()),
        (b"cache-control", b"no-store"),
        # Asks nginx not to gather the stream.
        (b"x-accel-buffering", b"no"),
    ]
    if retry_after is not None:
        headers.append((b"retry-after", str(max(1, math.ceil(retry_after))).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def send_body(send: Send, data: bytes, *, more: bool) -> None:
    """Send a piece of the body, as soon as the connection takes it."""
    await send({"type": "http.response.body", "body": data, "more_body": more})
