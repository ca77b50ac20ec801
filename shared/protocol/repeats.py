"""How often a call may have been made beside the time that brought its answer.

Owns the header in which a controller tells it, of a call with an Idempotency-Key: a controller
died while it made the call, or what came of it was lost on its way. It is kept with the answer.
"""

from __future__ import annotations

REPEATED_HEADER = "x-llmzoo-call-repeated"
_MOST_DIGITS = 6


def read_repeats(header: str | None) -> int:
    """Return what a header tells; 0 where there is none, or something else than a count."""
    if header is None or not (header.isascii() and header.isdigit()):
        return 0
    return int(header[:_MOST_DIGITS])
