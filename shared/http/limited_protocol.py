"""HTTP/1.1 as uvicorn speaks it, with bounds on what a client may take.

Owns the limits of a connection (bytes of a head, seconds for a head, for a body and for taking an
answer) and of all connections of a process, and the form in which a request that is no HTTP is refused. How large a
body may be is the affair of whoever reads it; an idle connection between two requests, uvicorn's.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import orjson
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from shared.errors import (
    HeadersTooLarge,
    InvalidRequest,
    LLMZooError,
    RequestTimedOut,
    Unavailable,
)
from shared.http.corked_transport import CorkedTransport
from shared.http.departure import CLIENT, EXTENSION, Departure


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What clients may take of one server process."""

    connections: int = 8192
    head_bytes: int = 32 * 1024
    """Of the request line and headers together."""

    head_seconds: float = 10.0
    """From the opening of a connection, or a request's first byte, to the end of its head."""

    body_seconds: float = 60.0
    """From the end of the head to the end of the body."""

    stall_seconds: float = 60.0
    """In which a client takes nothing of an answer that waits for it."""


_QUIET_SECONDS = 1.0
"""A server that ends closes connections that are idle for so long. Not at once: a request may be
on its way, and whoever asks without a pause would meet the closing nearly every time."""

_LINGER_SECONDS = 1.0
"""For so long what a refused client still sends is thrown away, so that it can read why."""
_LINGERING = 64
"""Connections beyond the limit that are told so; more than these are only closed."""


class _Phase(Enum):
    """What a connection waits for."""

    HEAD = auto()
    BODY = auto()
    NOTHING = auto()
    REFUSED = auto()


class LimitedProtocol(HttpToolsProtocol):
    """One connection; it ends when its client takes too much or too long."""

    def __init__(
        self,
        limits: ServerLimits,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """Serve under `limits`; the rest is uvicorn's."""
        super().__init__(config, server_state, app_state, _loop)
        self._limits = limits
        self._phase = self._watched = _Phase.NOTHING
        self._deadline: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None
        self._fault: LLMZooError | None = None
        self._departure = Departure()
        self._progressed = False
        self._leaving = False
        self._idle_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, unless there are too many."""
        super().connection_made(CorkedTransport(transport, self.loop))
        excess = len(self.connections) - self._limits.connections
        if excess > _LINGERING:
            transport.abort()
            return
        if excess > 0:
            self._refuse(Unavailable("Too many connections are open.", retry_after=1))
            return
        self._phase = _Phase.HEAD
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadlines with the connection, and tell who waits for the client's sake."""
        self._departure.depart()
        self._phase = _Phase.NOTHING
        self._watch()
        self._end_stall()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came; what brings neither a whole head nor a piece of a body is counted."""
        if self._refused or self.transport.is_closing():
            return
        self._progressed = False
        super().data_received(data)
        self._idle_bytes = 0 if self._progressed else self._idle_bytes + len(data)
        if self._idle_bytes > self._limits.head_bytes and not self._refused:
            self._refuse(self._too_large())
        self._watch()

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._phase = _Phase.HEAD

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, and none of those that follow a body in chunks."""
        if self._phase is _Phase.HEAD:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """End the head; one that is too large never reaches the app."""
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > self._limits.head_bytes:
            self._fault = self._too_large()
            raise self._fault
        self._phase = _Phase.BODY
        self._progressed = True
        self.scope["extensions"] = {EXTENSION: {CLIENT: self._departure}}
        super().on_headers_complete()
        if self._leaving:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._progressed = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End the request: from here on it is the service that takes its time."""
        self._phase = _Phase.NOTHING
        self._progressed = True
        super().on_message_complete()
        if not self.pipeline:
            # A large body has paused it, and only who reads notices that a client goes.
            self.flow.resume_reading()

    def shutdown(self) -> None:
        """Serve what still comes, saying with each answer that it is the connection's last.

        An answer whose head is out already cannot say so; the one after it will.
        """
        self._leaving = True
        self.timeout_keep_alive = _QUIET_SECONDS
        if not self._answering:
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(
                _QUIET_SECONDS, self.timeout_keep_alive_handler
            )
        elif not self.cycle.response_started:
            self.cycle.keep_alive = False

    def pause_writing(self) -> None:
        """Wait for a client that is slower than its answer, and not for ever."""
        super().pause_writing()
        self._stall = self.loop.call_later(self._limits.stall_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on: the client has taken a good part of it."""
        self._end_stall()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Refuse what the parser refuses, or we within one of its callbacks."""
        self._refuse(self._fault or InvalidRequest(msg, code="invalid_http"))

    def _watch(self) -> None:
        """Let the deadline be that of what is waited for now."""
        if self._phase is self._watched:
            return
        self._watched = self._phase
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        match self._phase:
            case _Phase.HEAD:
                self._deadline = self.loop.call_later(self._limits.head_seconds, self._give_up)
            case _Phase.BODY:
                self._deadline = self.loop.call_later(self._limits.body_seconds, self._give_up)
            case _Phase.REFUSED:
                self._deadline = self.loop.call_later(_LINGER_SECONDS, self.transport.close)
            case _Phase.NOTHING:
                pass

    def _end_stall(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def _give_up(self) -> None:
        if self._phase is _Phase.HEAD and self._answering:
            # A request sent ahead, while we do not even read: the answer before it comes first.
            self._watched = _Phase.NOTHING
        else:
            self._refuse(RequestTimedOut("The request did not come in time."))
        self._watch()

    @property
    def _refused(self) -> bool:
        return self._phase is _Phase.REFUSED

    @property
    def _answering(self) -> bool:
        # Before the first request uvicorn has None there.
        cycle: Any = self.cycle
        return cycle is not None and not cycle.response_complete

    def _refuse(self, fault: LLMZooError) -> None:
        """Answer with `fault`, unless another answer has begun, and end the connection."""
        cycle: Any = self.cycle
        if not self._answering or not cycle.response_started:
            body = orjson.dumps(fault.as_openai())
            retry = b"retry-after: 1\r\n" if fault.retry_after else b""
            self.transport.write(
                STATUS_LINE[fault.status]
                + b"content-type: application/json\r\ncontent-length: %d\r\n" % len(body)
                + retry
                + b"connection: close\r\n\r\n"
                + body
            )
        if self._answering:
            # What the app still sends would come after that.
            cycle.disconnected = True
            cycle.message_event.set()
        self._unset_keepalive_if_required()
        self._phase = _Phase.REFUSED
        self.transport.write_eof()
        self._watch()

    def _too_large(self) -> HeadersTooLarge:
        return HeadersTooLarge(
            f"The request line and headers are larger than {self._limits.head_bytes} bytes."
        )
