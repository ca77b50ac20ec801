"""How long a client waits at most: the header `X-Request-Timeout`, in seconds.

Owns the header's form and the error that tells of the time's end.
"""

from __future__ import annotations

import math

from shared.errors import DeadlineExceeded, InvalidRequest

TIMEOUT_HEADER = "x-request-timeout"
LONGEST_SECONDS = 86_400.0
NO_DEADLINE = math.inf


def parse_deadline(value: bytes | None, now: float) -> float:
    """Return when a request that began at `now` has to be over; without the header never.

    Raises:
        InvalidRequest: the value is no number of seconds above 0 and up to a day.
    """
    if value is None:
        return NO_DEADLINE
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= LONGEST_SECONDS:
        shown = value.decode("latin-1")[:40]
        msg = f"{TIMEOUT_HEADER} is a number of seconds, above 0 and up to a day, not '{shown}'."
        raise InvalidRequest(msg, param=TIMEOUT_HEADER)
    return now + seconds


def deadline_exceeded() -> DeadlineExceeded:
    """Return what a client is told whose time is over."""
    return DeadlineExceeded(f"The time that {TIMEOUT_HEADER} gave is over.")
