"""How fast one answer came. Owns the clock's readings and the line that tells of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from shared.client import Delta

_CUT = "cut off at max_tokens or the end of the context"


class AnswerStats:
    """Watches the pieces of one answer."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start the clock; it counts seconds."""
        self._clock = clock
        self._started = clock()
        self._first: float | None = None
        self._last = self._started
        self._pieces = 0
        self._usage: dict[str, Any] = {}
        self._finish_reason = ""

    def note(self, delta: Delta) -> None:
        """Take one piece into account."""
        if delta.text:
            self._pieces += 1
            self._last = self._clock()
            if self._first is None:
                self._first = self._last
        self._usage = delta.usage or self._usage
        self._finish_reason = delta.finish_reason or self._finish_reason

    def line(self) -> str:
        """Return time to first token, tokens and tokens per second.

        A server that tells no usage has its pieces counted, marked as a guess.
        """
        if self._first is None:
            return ""
        parts = [f"TTFT {self._first - self._started:.2f} s"]
        told = self._usage.get("completion_tokens")
        tokens, guess = (told, "") if isinstance(told, int) else (self._pieces, "~")
        parts.append(f"{guess}{tokens} token{'' if tokens == 1 else 's'}")
        seconds = self._last - self._first
        # The first token's time is the prompt's; a rate needs at least two more.
        if tokens > 2 and seconds > 0:  # noqa: PLR2004 - said above
            parts.append(f"{guess}{(tokens - 1) / seconds:.1f} tokens/s")
        if self._finish_reason == "length":
            parts.append(_CUT)
        return " · ".join(parts)
