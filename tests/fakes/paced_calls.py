"""Calls at a pace against a limit, in virtual time: an hour takes a moment."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from services.evaluator.calling.pace import Pace
from tests.fakes.rate_limits import Admit

_TICK = 0.001
"""Event loops' timers are no finer."""


@dataclass
class Course:
    """What happened: when each call was sent and whether it was let in, and when all was done."""

    sent: list[tuple[float, bool]] = field(default_factory=list)
    most_at_once: int = 0
    ended: float = 0.0

    def refused_after(self, second: float) -> float:
        """Return the share of refused calls among those sent after a time."""
        late = [good for at, good in self.sent if at >= second]
        return 1 - sum(late) / len(late)

    def sent_between(self, first: float, last: float) -> int:
        return sum(first <= at < last for at, _ in self.sent)


def course_of(
    pace: Pace,
    admit: Admit,
    calls: int,
    latency: float,
    tell: Callable[[float], float | None],
    *,
    end: Callable[[], None] = lambda: None,
) -> Course:
    """Make `calls` calls, as early as the pace lets; `tell` makes a Retry-After of the wait."""
    course = Course()
    running: list[tuple[float, int, Any, float]] = []
    numbers = itertools.count()
    now = 0.0
    left = calls
    while left or running:
        while left and pace.wait(now) <= 0:
            ticket = pace.sent(now)
            wait = admit(now)
            left -= 1
            course.sent.append((now, wait == 0))
            course.most_at_once = max(course.most_at_once, pace.in_flight)
            heapq.heappush(
                running, (now + (0.002 if wait else latency), next(numbers), ticket, wait)
            )
        turn = now + pace.wait(now) if left else math.inf
        if running and running[0][0] <= turn:
            now, _, ticket, wait = heapq.heappop(running)
            if wait:
                pace.refused(ticket, now, tell(wait))
                left += 1
            else:
                end()
                pace.succeeded(ticket, now)
        else:
            now = max(math.ceil(turn / _TICK) * _TICK, now + _TICK / 10)
    course.ended = now
    return course
