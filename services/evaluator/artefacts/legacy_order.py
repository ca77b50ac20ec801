"""LLMZoo's own way to read an order, with its faults, to tell what it made of a text.

Knows nothing of how an order should be read: that is `judging.verdicts`.
"""

from __future__ import annotations

import re

UNREAD = -1


def legacy_order(text: str, n: int) -> list[int]:
    """Return the ranks that LLMZoo reads in `text` for `n` answers, or `n` times -1.

    The first chain of exactly `n` names counts, wherever it stands. Names are looked up as list
    places: a number of two digits loses its second, 0 means the last, a name that stands twice
    leaves another's rank at 0.
    """
    plain = text.replace(">=", ">").replace(">>", ">")
    chain = re.search(r"Assistant \d" + r" [>=] Assistant \d" * (n - 1), plain, re.ASCII)
    if chain is None:
        return [UNREAD] * n
    names = [int(digit) for digit in re.findall(r"Assistant (\d)", chain[0], re.ASCII)]
    joined = ["", *re.findall(r" ([>=]) ", chain[0])]
    ranks = [0] * n
    rank = 1
    for place, (name, operator) in enumerate(zip(names, joined, strict=True), start=1):
        if operator == ">":
            rank = place
        if name > n:
            return [UNREAD] * n
        ranks[name - 1] = rank
    return ranks
