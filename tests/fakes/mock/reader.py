"""One connection that reads a mock answer, and the fault that it meets on the way."""

from __future__ import annotations

import time

from shared.protocol.frames import KeepaliveFrame, encode
from tests.fakes.mock.faults import Fault, FaultKind
from tests.fakes.mock.http import HttpConnection

KEEPALIVE_SECONDS = 1.0
_KEEPALIVE = encode(KeepaliveFrame())
_MALFORMED = b"\x00\x00\x00\x02\xffx"
_TOUCHY = frozenset({FaultKind.STALL, FaultKind.BREAK, FaultKind.MALFORMED})


class Reader:
    """Takes frames, or the events of a plain stream; what was put goes out with `flush`."""

    def __init__(self, connection: HttpConnection, fault: Fault) -> None:
        self.connection = connection
        self.silent = False
        self._fault = fault
        self._frames_left = fault.frames if fault.kind in _TOUCHY else -1
        self._pending = b""
        self._said = time.monotonic()

    def put(self, data: bytes) -> None:
        if not self.silent:
            self._meet_fault()
        if not self.silent:
            self._pending += data

    def flush(self, *, last: bool = False) -> None:
        if self._pending:
            self.connection.chunk(self._pending, last=last)
            self._pending = b""
            self._said = time.monotonic()

    def keep_alive(self, now: float) -> None:
        """Show that the worker lives, after a second without a word."""
        if now - self._said >= KEEPALIVE_SECONDS:
            self.put(_KEEPALIVE)
            self.flush()

    def _meet_fault(self) -> None:
        """Count a frame down; at zero, do the wrong thing and say nothing more."""
        if self._frames_left:
            self._frames_left -= 1
            return
        self.flush()
        self.silent = True
        if self._fault.kind is FaultKind.BREAK:
            self.connection.cut()
        elif self._fault.kind is FaultKind.MALFORMED:
            self.connection.chunk(_MALFORMED)
