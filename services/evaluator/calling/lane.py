"""The calls to one model that wait for their turn, first come, first served.

Owns the queue and the timer. How fast it goes is the pace's.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque

from services.evaluator.calling.pace import Pace, Ticket


class Lane:
    """Lets calls pass at a pace; whoever entered must end its ticket by one of the four ways."""

    def __init__(self, most: int) -> None:
        """Let at most `most` calls be under way."""
        self.pace = Pace(most)
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[asyncio.Future[Ticket]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def idle(self) -> bool:
        """Return whether nobody is here."""
        return not self._waiting and not self.pace.in_flight

    async def enter(self, *, ahead: bool = False) -> Ticket:
        """Wait for a turn, `ahead` of those who have not tried yet; cancelling gives it back."""
        now = self._loop.time()
        if not self._waiting and self.pace.wait(now) <= 0:
            return self.pace.sent(now)
        turn: asyncio.Future[Ticket] = self._loop.create_future()
        if ahead:
            self._waiting.appendleft(turn)
        else:
            self._waiting.append(turn)
        self._let_pass()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.withdraw(turn.result())
            elif turn in self._waiting:
                self._waiting.remove(turn)
            raise

    def succeed(self, ticket: Ticket) -> None:
        """End a call that was answered."""
        self.pace.succeeded(ticket, self._loop.time())
        self._let_pass()

    def refuse(self, ticket: Ticket, wish: float | None) -> None:
        """End a call that came too soon; nobody goes before `wish` seconds."""
        self.pace.refused(ticket, self._loop.time(), wish)
        self._let_pass()

    def fail(self, ticket: Ticket, wish: float | None) -> None:
        """End a call that failed."""
        self.pace.failed(ticket, self._loop.time(), wish)
        self._let_pass()

    def withdraw(self, ticket: Ticket) -> None:
        """End a call that was given up."""
        self.pace.withdrawn(ticket, self._loop.time())
        self._let_pass()

    def _let_pass(self) -> None:
        """Let go whoever may, and look again when the next one may."""
        while self._waiting:
            now = self._loop.time()
            seconds = self.pace.wait(now)
            if seconds > 0:
                self._look_again(now + seconds)
                return
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(self.pace.sent(now))
        self._look_again(math.inf)

    def _look_again(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if at == math.inf else self._loop.call_at(at, self._let_pass)
