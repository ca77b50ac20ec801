"""Limits on requests as servers keep them: by a window, fixed or sliding, or a bucket that fills evenly."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

Admit = Callable[[float], float]
"""Takes a request at a time; returns 0, or the seconds after which one would be let in."""


def fixed_window(requests: int, seconds: float) -> Admit:
    """Let in so many in each window; the first one begins at time 0."""
    window, count = -1, 0

    def admit(now: float) -> float:
        nonlocal window, count
        if math.floor(now / seconds) != window:
            window, count = math.floor(now / seconds), 0
        if count < requests:
            count += 1
            return 0.0
        return (window + 1) * seconds - now + 1e-6

    return admit


def sliding_window(requests: int, seconds: float) -> Admit:
    """Let in so many in any stretch of time of this length."""
    entered: deque[float] = deque()

    def admit(now: float) -> float:
        while entered and entered[0] <= now - seconds:
            entered.popleft()
        if len(entered) < requests:
            entered.append(now)
            return 0.0
        return entered[0] + seconds - now + 1e-6

    return admit


def begun_before(admit: Admit, seconds: float) -> Admit:
    """Let the first call come when a limit is that old already."""
    return lambda now: admit(now + seconds)


def token_bucket(per_second: float, capacity: int) -> Admit:
    """Start full."""
    level, filled_at = float(capacity), 0.0

    def admit(now: float) -> float:
        nonlocal level, filled_at
        level = min(capacity, level + (now - filled_at) * per_second)
        filled_at = now
        if level >= 1:
            level -= 1
            return 0.0
        return (1 - level) / per_second + 1e-6

    return admit


def concurrency(most: int) -> tuple[Admit, Callable[[], None]]:
    """Let in so many at once; the second function ends one."""
    count = 0

    def admit(_: float) -> float:
        nonlocal count
        if count >= most:
            return 1e-6
        count += 1
        return 0.0

    def end() -> None:
        nonlocal count
        count -= 1

    return admit, end
