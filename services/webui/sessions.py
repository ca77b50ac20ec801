"""Who has the page open, and which answer each of them is waiting for.

Owns the rule that one page has one answer at a time, and that a page which goes away takes
its answer with it. Holds no texts.
"""

from __future__ import annotations

import asyncio

from services.webui.metrics import WebuiMetrics
from services.webui.turn import Turn
from shared.errors import InvalidRequest


class Sessions:
    """Open pages by Gradio's session id."""

    def __init__(self, metrics: WebuiMetrics) -> None:
        """Start with no page."""
        self._open: set[str] = set()
        self._turns: dict[str, Turn] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        metrics.sessions.set_function(lambda: len(self._open))

    def arrive(self, session: str) -> None:
        """Note that a page was opened."""
        self._open.add(session)

    def leave(self, session: str) -> None:
        """Note that a page was closed, and stop its answer."""
        self._open.discard(session)
        self.stop(session)

    def busy(self, session: str) -> bool:
        """Return whether an answer is in the making."""
        return session in self._turns

    def begin(self, session: str, turn: Turn) -> None:
        """Take the page's one place.

        Raises:
            InvalidRequest: it is taken.
        """
        if self.busy(session):
            msg = "An answer is still being written. Stop it, or wait for its end."
            raise InvalidRequest(msg)
        self._turns[session] = turn
        self._idle.clear()

    def end(self, session: str, turn: Turn) -> None:
        """Give the place back."""
        if self._turns.get(session) is turn:
            del self._turns[session]
        if not self._turns:
            self._idle.set()

    def stop(self, session: str) -> None:
        """Stop the page's answer, if there is one."""
        turn = self._turns.get(session)
        if turn is not None:
            turn.stop()

    async def idle(self) -> None:
        """Wait until no answer is in the making."""
        await self._idle.wait()
