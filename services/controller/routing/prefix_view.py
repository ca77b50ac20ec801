"""What a worker holds cached, as far as this controller knows.

Owns the last report of the worker's prefix blocks, and those of the requests that were sent to it
since: what was just sent there is about to be held. Judges by numbers alone (`prefix_chain`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict

from shared.protocol.prefix_chain import unpack

TRUSTED_SECONDS = 3.0
"""For so long a request's blocks count as held without being reported; then a report would say so."""

UNREPORTED_SECONDS = 120.0
"""The same for a worker that reports no blocks at all."""

MAX_SENT_BLOCKS = 65_536


class PrefixView:
    """One worker's blocks."""

    def __init__(self) -> None:
        """Start with nothing."""
        self._packed = ""
        self._reported: frozenset[int] = frozenset()
        self._sent: OrderedDict[int, float] = OrderedDict()  # block -> when it was sent last

    def report(self, packed: str, now: float) -> None:
        """Take what the worker says it holds."""
        if packed != self._packed:
            try:
                self._reported = unpack(packed)
            except ValueError:
                self._reported = frozenset()
            self._packed = packed
        oldest = now - (TRUSTED_SECONDS if packed else UNREPORTED_SECONDS)
        while self._sent and next(iter(self._sent.values())) < oldest:
            self._sent.popitem(last=False)

    def send(self, chain: tuple[int, ...], now: float) -> None:
        """Note that a request that begins so was sent."""
        for block in chain:
            self._sent[block] = now
            self._sent.move_to_end(block)
        while len(self._sent) > MAX_SENT_BLOCKS:
            self._sent.popitem(last=False)

    def held(self, chain: tuple[int, ...]) -> int:
        """Return how many leading blocks of the chain are there.

        Who holds a block holds those before it, so that few are looked at.
        """
        return bisect_left(chain, True, key=lambda block: not self._holds(block))

    def _holds(self, block: int) -> bool:
        return block in self._reported or block in self._sent
