"""How often a call is tried, and when it is given up.

Pure. What a refusal does to other calls is the pace's affair.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from shared.errors import LLMZooError

TOO_MANY_REQUESTS = 429


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The bounds of one call's tries."""

    max_retries: int = 6
    """Tries after the first one that failed; 0: none, not even after a refusal."""
    first_pause: float = 0.5
    longest_pause: float = 15.0
    longest_wish: float = 120.0
    """Seconds; a server that wants a longer pause is not waited for."""
    patience: float = 600.0
    """Seconds for which a model may go on refusing a call (429) before it is given up."""

    def again(self, fault: LLMZooError, failures: int) -> bool:
        """Return whether a call may be tried again after its failure number `failures`."""
        if not fault.retryable or (fault.retry_after or 0) > self.longest_wish:
            return False
        if is_refusal(fault):
            return self.max_retries > 0
        return failures <= self.max_retries

    def pause(self, failures: int) -> float:
        """Return the seconds to wait after so many failures.

        The pause doubles from one to the next and loses up to half of it at random, so that calls
        which failed together do not come back together.
        """
        longest = min(self.first_pause * 2 ** (failures - 1), self.longest_pause)
        return longest * random.uniform(0.5, 1)  # noqa: S311 - no secret


def is_refusal(fault: LLMZooError) -> bool:
    """Return whether a call was not even begun, since there are too many."""
    return fault.status == TOO_MANY_REQUESTS
