"""What a controller tells of a call with an Idempotency-Key, in headers of its answer.

Owns their names: that it is the answer of an earlier call, and how often the call may have been
made beside the time that brought it, since a controller died while it made it, or what came of it
was lost on its way. The latter is kept with the answer.
"""

from __future__ import annotations

REPLAYED_HEADER = "idempotency-replayed"
REPEATED_HEADER = "x-llmzoo-call-repeated"
_MOST_DIGITS = 6


def read_repeats(header: str | None) -> int:
    """Return what a header tells; 0 where there is none, or something else than a count."""
    if header is None or not (header.isascii() and header.isdigit()):
        return 0
    return int(header[:_MOST_DIGITS])
