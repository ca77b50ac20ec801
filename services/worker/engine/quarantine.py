"""Quarantine: which sequences may have made steps fail, and run alone until it is known.

All that were in a step that failed go on together, since most faults are nobody's. Who is in
another failed step as well, or was in one alone, is suspected: it runs alone until it has given a
few tokens more, or fails and is to blame. So a request that fails every step fails alone. Knows no
queue, no row and no tensor.
"""

from __future__ import annotations

from collections import deque

from services.worker.engine.sequence import Sequence

# Failed steps that a sequence was in, unexplained, until it is suspected; and until it ends itself:
# for sequences that fail together and not alone, and those that fail now and then.
_SUSPICIOUS, _MOST = 2, 6


class Quarantine:
    """The suspects, in the order in which they run; true while there are any."""

    def __init__(self) -> None:
        """Suspect nobody."""
        self._faults: dict[Sequence, int] = {}
        # Each with the length of its output at which it is cleared.
        self._suspects: deque[tuple[Sequence, int]] = deque()

    def __bool__(self) -> bool:
        """Whether a sequence has to run alone."""
        return bool(self._suspects)

    @property
    def first(self) -> Sequence:
        """The sequence that may run while the quarantine lasts."""
        return self._suspects[0][0]

    def judge(self, ran: list[Sequence]) -> list[Sequence]:
        """Take note of a failed step and who was in it; return those that must end for it.

        The one that has failed alone explains the faults before, and all others are free again.
        """
        if len(ran) == 1 and any(suspect is ran[0] for suspect, _ in self._suspects):
            self._faults.clear()
            self._suspects.clear()
            return ran
        for sequence in ran:
            self._faults[sequence] = self._faults.get(sequence, 0) + 1
        ends = [sequence for sequence in ran if self._faults[sequence] >= _MOST]
        for sequence in ran:
            if sequence not in ends and (len(ran) == 1 or self._faults[sequence] >= _SUSPICIOUS):
                self.isolate(sequence)
        return ends

    def isolate(self, sequence: Sequence) -> None:
        """Let a sequence run alone, before the others that have to: the latest is tried first.

        Two tokens at least: a prefill gives the first, so that only the second tells of a decode;
        twice as many with each fault, for what fails seldom.
        """
        tokens = 2 ** max(1, self._faults.get(sequence, 0))
        self._suspects.appendleft((sequence, len(sequence.output_ids) + tokens))

    def take_cleared(self) -> Sequence | None:
        """Return the first if it has given its tokens, and suspect it no more."""
        if self._suspects and len(self.first.output_ids) >= self._suspects[0][1]:
            return self._suspects.popleft()[0]
        return None

    def release(self, sequence: Sequence) -> None:
        """Forget a sequence that has ended."""
        self._faults.pop(sequence, None)
        if self._suspects:
            self._suspects = deque(each for each in self._suspects if each[0] is not sequence)
