"""Candidates that cannot be told apart, as groups that may overlap.

"Not separable" is no equivalence: the first and the second, and the second and the third, may be
alike while the first and the third are not. So a candidate can be in several groups. What holds
always: within a group no two are separable, and each two that are not separable share a group.
"""

from __future__ import annotations

from collections.abc import Sequence


def groups_of(names: Sequence[str], separable: set[frozenset[str]]) -> list[list[str]]:
    """Return the groups, best first; `names` are best first, `separable` the pairs that differ.

    Each group is as large as it can be; not each possible one is listed, since these can be very
    many where differences contradict each other.
    """
    groups: list[list[str]] = []
    for place, name in enumerate(names):
        others = [
            other for other in names[place + 1 :] if frozenset((name, other)) not in separable
        ]
        uncovered = [other for other in others if not _share(groups, name, other)]
        if not others and not any(name in group for group in groups):
            groups.append([name])
        while uncovered:
            group = _grown([name, uncovered[0]], names, separable)
            groups.append(group)
            uncovered = [other for other in uncovered if other not in group]
    return groups


def _share(groups: list[list[str]], one: str, other: str) -> bool:
    return any(one in group and other in group for group in groups)


def _grown(seed: list[str], names: Sequence[str], separable: set[frozenset[str]]) -> list[str]:
    """Return the seed with all that fit to it, taken best first, in the order of `names`."""
    group = list(seed)
    for name in names:
        if name not in group and not any(frozenset((name, each)) in separable for each in group):
            group.append(name)
    return sorted(group, key=list(names).index)
