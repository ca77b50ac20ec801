"""What can be wrong with a mock worker, on purpose.

    none
    refuse              takes no connection
    mute                takes connections and never answers, not even health checks
    stall:FRAMES        sends nothing more after so many frames
    break:FRAMES        resets the connection after so many frames
    malformed:FRAMES    sends what is no frame after so many frames
    error:STATUS        answers with a status
    loading             is not ready and says so

`*REQUESTS` behind it (`error:500*2`) says that so many requests meet it, and no more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self


class FaultKind(StrEnum):
    NONE = "none"
    REFUSE = "refuse"
    MUTE = "mute"
    STALL = "stall"
    BREAK = "break"
    MALFORMED = "malformed"
    ERROR = "error"
    LOADING = "loading"


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault; `frames` go out before it, `requests` meet it (None: all)."""

    kind: FaultKind = FaultKind.NONE
    frames: int = 0
    requests: int | None = None
    status: int = 500

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read one of the lines above."""
        told, _, requests = text.partition("*")
        name, _, number = told.partition(":")
        kind, times = FaultKind(name), int(requests) if requests else None
        if kind is FaultKind.ERROR:
            return cls(kind, requests=times, status=int(number or 500))
        return cls(kind, int(number or 0), times)

    def after_one(self) -> tuple[Fault, Fault]:
        """Return the fault that is left after one more request, and the one that it meets."""
        if self.requests is None:
            return self, self
        left = self.requests - 1
        return (replace(self, requests=left) if left else Fault()), self
