"""What a network can do to one answer on its way from a worker, on purpose.

`at` counts the bytes of the answer as they are on the wire, its head among them. What is put in
is put between two chunks of the body, the first such place that has so many bytes before it: our
workers write whole frames in a chunk, so that this is a frame's boundary as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from shared.protocol.frames import ErrorFrame, encode

NO_FRAME = b"\x00\x00\x00\x02\xffx"
"""A frame of a kind that there is not."""
NO_LENGTH = b"\x00\x00\x00\x00"
"""A frame without even a kind."""
TOO_LONG = b"\xff\xff\xff\xff\x02"
"""A frame that says it has four gigabytes."""
NO_IDS = b"\x00\x00\x00\x0b\x02\x00\x00\x00\x01\x00\x00\x00\x09\x00\x00"
"""A frame that says it has nine tokens and has none."""
GARBAGE = (NO_FRAME, NO_LENGTH, TOO_LONG, NO_IDS)

ENGINE_FAULT = encode(
    ErrorFrame(
        500,
        {
            "message": "A step failed, on purpose.",
            "type": "server_error",
            "param": None,
            "code": "engine_fault",
        },
    )
)


class FaultKind(StrEnum):
    NONE = "none"
    CUT = "cut"
    """Both connections end, in order, after `at` bytes."""
    RESET = "reset"
    """The same, with a RST towards the client."""
    HALF_CLOSE = "half_close"
    """An end towards the client after `at` bytes; the worker is told nothing and goes on."""
    STALL = "stall"
    """Nothing passes after `at` bytes, and everything stays open."""
    DRIBBLE = "dribble"
    """What follows `at` bytes comes one byte at a time, and is whole."""
    INJECT = "inject"
    """A chunk with `data`, which is no frame, and then the rest."""
    ERROR = "error"
    """A chunk with `data`, an error frame, and the proper end of the answer."""
    CORRUPT = "corrupt"
    """What is no HTTP, and then the rest."""
    SLOW_ACCEPT = "slow_accept"
    """A connection is open and nobody reads from it for `seconds`."""


class Scope(StrEnum):
    """What meets a fault."""

    STREAM = "stream"
    """An answer in chunks: a stream or one made of frames."""
    CALL = "call"
    """An answer of a known length, as those to aborts and refusals are."""
    ANY = "any"
    CONNECTION = "connection"
    """Of these there is SLOW_ACCEPT alone."""


@dataclass(frozen=True, slots=True)
class WireFault:
    """One fault; it is over with the answer that meets it."""

    kind: FaultKind
    at: int = 0
    data: bytes = b""
    seconds: float = 0.0
    scope: Scope = Scope.STREAM

    def hits(self, scope: Scope) -> bool:
        """Return whether what is about to begin meets it."""
        return self.scope is scope or (self.scope is Scope.ANY and scope is not Scope.CONNECTION)


def passes() -> WireFault:
    """Return a fault that is none, for an answer that is to come through."""
    return WireFault(FaultKind.NONE)


def cut(at: int) -> WireFault:
    return WireFault(FaultKind.CUT, at)


def reset(at: int) -> WireFault:
    return WireFault(FaultKind.RESET, at)


def half_close(at: int) -> WireFault:
    return WireFault(FaultKind.HALF_CLOSE, at)


def stall(at: int) -> WireFault:
    return WireFault(FaultKind.STALL, at)


def dribble(at: int) -> WireFault:
    return WireFault(FaultKind.DRIBBLE, at)


def inject(at: int, data: bytes = NO_FRAME) -> WireFault:
    return WireFault(FaultKind.INJECT, at, data)


def error_frame(at: int, data: bytes = ENGINE_FAULT) -> WireFault:
    return WireFault(FaultKind.ERROR, at, data)


def corrupt(at: int) -> WireFault:
    return WireFault(FaultKind.CORRUPT, at, b"\xffno chunk\r\n")


def slow_accept(seconds: float) -> WireFault:
    return WireFault(FaultKind.SLOW_ACCEPT, seconds=seconds, scope=Scope.CONNECTION)
