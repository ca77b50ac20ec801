"""Rankings: from tiers, and from relations between answers if they leave just one.

Answers are numbered from 1. Knows no text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


def ranks_of_tiers(tiers: Sequence[Sequence[int]], n: int) -> tuple[int, ...] | None:
    """Return the ranks that `tiers`, best first, give; None unless each answer stands in one."""
    ranks: dict[int, int] = {}
    for tier in tiers:
        rank = len(ranks) + 1
        for answer in tier:
            if answer in ranks or not 1 <= answer <= n:
                return None
            ranks[answer] = rank
    return tuple(ranks[answer] for answer in range(1, n + 1)) if len(ranks) == n else None


def from_places(places: Sequence[int]) -> tuple[int, ...] | None:
    """Return competition ranks for places told as 1, 2, 2, 4 or as 1, 2, 2, 3; None for others."""
    ranks = tuple(1 + sum(other < place for other in places) for place in places)
    dense = {place: rank for rank, place in enumerate(sorted(set(places)), start=1)}
    told = tuple(places)
    return ranks if told in (ranks, tuple(dense[place] for place in places)) else None


@dataclass(slots=True)
class Relations:
    """Who is better than whom, and who equals whom, as pairs of answers."""

    better: set[tuple[int, int]] = field(default_factory=set[tuple[int, int]])
    equal: set[tuple[int, int]] = field(default_factory=set[tuple[int, int]])

    def __bool__(self) -> bool:
        """Return whether anything is said."""
        return bool(self.better or self.equal)

    def add(self, other: Relations) -> None:
        """Take over what `other` says."""
        self.better |= other.better
        self.equal |= other.equal

    def rank(self, over: Iterable[int], under: Iterable[int]) -> None:
        """Say that each of `over` is better than each of `under`."""
        below = tuple(under)
        self.better |= {(one, other) for one in over for other in below}

    def tie(self, answers: Sequence[int]) -> None:
        """Say that all of `answers` are equal."""
        self.equal |= {(answers[0], other) for other in answers[1:]}

    def contradict(self, n: int) -> bool:
        """Return whether no ranking can have all that is said."""
        beats = self._closure(n)
        return any(one & (1 << answer) for answer, one in enumerate(beats))

    def ranks(self, n: int) -> tuple[int, ...] | None:
        """Return the only ranking that has all that is said; None: there is none, or several."""
        if any(not 1 <= answer <= n for pair in self.better | self.equal for answer in pair):
            return None
        beats = self._closure(n)
        group = self._groups(n)
        if any(one & (1 << answer) for answer, one in enumerate(beats)):
            return None
        for one in range(1, n + 1):
            for other in range(1, one):
                related = beats[one] & (1 << other) or beats[other] & (1 << one)
                if group[one] != group[other] and not related:
                    return None
        return tuple(
            1 + sum(bool(beats[other] & (1 << one)) for other in range(1, n + 1))
            for one in range(1, n + 1)
        )

    def _groups(self, n: int) -> list[int]:
        """Return for each answer the least one that it equals, directly or by others."""
        group = list(range(n + 1))
        for one, other in self.equal:
            low, high = sorted((group[one], group[other]))
            group = [low if each == high else each for each in group]
        return group

    def _closure(self, n: int) -> list[int]:
        """Return for each answer, as bits, those it is better than, directly or by others."""
        group = self._groups(n)
        members = [sum(1 << a for a in range(1, n + 1) if group[a] == g) for g in range(n + 1)]
        beats = [0] * (n + 1)
        for one, other in self.better:
            beats[group[one]] |= members[group[other]]
        for middle in range(1, n + 1):
            for one in range(1, n + 1):
                if beats[group[one]] & (1 << middle):
                    beats[group[one]] |= beats[group[middle]]
        return [beats[group[answer]] for answer in range(n + 1)]
