"""How far each unit of a run is, one letter a unit in one text of Redis for all of them.

So a run of half a million reviews is looked over in one read, and what is left, what failed and
what could not be read are found without its texts. Owns the letters and their meaning.
"""

from __future__ import annotations

from typing import Literal

from shared.protocol.evals.item import ItemStatus, Verdict

UNFED = b"\0"
"""Not in the stream of work yet."""
FED = b"w"
"""In the stream, or with an evaluator that works on it."""
ASIDE = b"-"
"""Not in the stream, and left out of what was resumed."""
GIVEN = b"g"
"""An answer that nobody has to ask for."""
NOT_ASKED = b"n"
"""An answer that is not given, in a run that asks for nothing."""
ANSWERED = b"a"
ERRORED = b"e"
UNDECODED = b"u"
JUDGED = b"j"
PASSED = b"p"
FAILED = b"f"
"""Judged by a grader, whose grade does not pass."""

_STATUSES = {
    ERRORED: ItemStatus.ERRORED,
    UNDECODED: ItemStatus.UNDECODED,
    **dict.fromkeys((JUDGED, PASSED, FAILED, ANSWERED, GIVEN), ItemStatus.JUDGED),
}

StatusFilter = Literal["pending", "judged", "undecoded", "errored", "pass", "fail"]
FILTERS: dict[StatusFilter, bytes] = {
    "pending": UNFED + FED + ASIDE,
    "judged": JUDGED + PASSED + FAILED + ANSWERED + GIVEN,
    "undecoded": UNDECODED,
    "errored": ERRORED,
    "pass": PASSED,
    "fail": FAILED,
}


def status_of(letter: bytes) -> ItemStatus:
    """Return what the API calls a state."""
    return _STATUSES.get(letter, ItemStatus.PENDING)


def letter_of(verdict: Verdict | None) -> bytes:
    """Return the state of an item with this verdict; None: its call failed for good."""
    if verdict is None:
        return ERRORED
    if not verdict.decoded:
        return UNDECODED
    if verdict.passed is None:
        return JUDGED
    return PASSED if verdict.passed else FAILED
