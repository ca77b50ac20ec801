"""How much a candidate repeats itself, without any judge: distinct-n and self-BLEU."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from services.evaluator.analysis.arrays import Floats
from services.evaluator.analysis.bootstrap import Bootstrap
from services.evaluator.analysis.figures import ratio
from services.evaluator.analysis.words import units
from shared.protocol.evals.results import Figure

_ORDERS = (1, 2, 3, 4)
_MOST_TEXTS = 1000
"""That self-BLEU compares, evenly taken; the figure's n says how many."""


def distinct_figures(texts: Sequence[str]) -> Iterator[tuple[str, Figure]]:
    """Return distinct-1 and distinct-2: different n-grams over all n-grams (Li et al. 2016).

    They have no interval: a question drawn twice would count as a repetition.
    """
    for order in (1, 2):
        seen: set[tuple[str, ...]] = set()
        total = 0
        for text in texts:
            grams = _grams(units(text), order)
            seen.update(grams)
            total += len(grams)
        value = len(seen) / total if total else None
        yield f"distinct_{order}", Figure(value=value, n=len(texts))


def self_bleu(texts: Sequence[str], bootstrap: Bootstrap) -> Figure:
    """Return the mean BLEU-4 of each text against all others (Zhu et al. 2018), 0 to 100.

    As sacrebleu's BLEU of sentences: smoothed by halves, of as many orders as the text has.
    """
    step = -(-len(texts) // _MOST_TEXTS) or 1
    split = [units(text) for text in texts[::step]]
    if len(split) < 2:  # noqa: PLR2004
        return Figure(value=None, n=len(split))
    matched, totals = (
        np.stack(part, axis=1)
        for part in zip(*(_matches(split, order) for order in _ORDERS), strict=True)
    )
    brevity = _brevity([len(words) for words in split])
    values = np.array(
        [
            penalty * _precision(own, total)
            for own, total, penalty in zip(matched, totals, brevity, strict=True)
        ]
    )
    return ratio(values, np.ones(len(values)), bootstrap, bounds=(0.0, 100.0))


def _grams(words: Sequence[str], order: int) -> list[tuple[str, ...]]:
    return list(zip(*(words[start:] for start in range(order)), strict=False))


def _matches(split: Sequence[Sequence[str]], order: int) -> tuple[Floats, Floats]:
    """Return for each text how many of its n-grams the others have too, and how many it has."""
    counted = [Counter(_grams(words, order)) for words in split]
    # The largest count of an n-gram, in which text that is, and the largest in the others.
    most: dict[tuple[str, ...], tuple[int, int, int]] = {}
    for place, grams in enumerate(counted):
        for gram, count in grams.items():
            largest, owner, second = most.get(gram, (0, -1, 0))
            if count > largest:
                most[gram] = (count, place, largest)
            elif count > second:
                most[gram] = (largest, owner, count)
    matched = np.zeros(len(split))
    for place, grams in enumerate(counted):
        for gram, count in grams.items():
            largest, owner, second = most[gram]
            matched[place] += min(count, second if owner == place else largest)
    return matched, np.array([grams.total() for grams in counted], dtype=np.float64)


def _brevity(lengths: list[int]) -> list[float]:
    """Return each text's penalty for being shorter than the other that is closest in length."""
    ordered = sorted(lengths)
    penalties: list[float] = []
    for length in lengths:
        place = bisect_left(ordered, length)
        others = ordered[max(0, place - 1) : place] + ordered[place + 1 : place + 2]
        closest = min(others, key=lambda other: (abs(other - length), other))
        penalties.append(float(np.exp(min(0.0, 1 - closest / length))) if length else 0.0)
    return penalties


def _precision(matched: Floats, totals: Floats) -> float:
    """Return the geometric mean of the orders that the text has, in per cent."""
    orders = int((totals > 0).sum())
    if not matched.any():
        return 0.0
    precisions: list[float] = []
    halved = 1.0
    for own, total in zip(matched[:orders], totals[:orders], strict=True):
        if not own:
            halved *= 2
        precisions.append(float(100 * (own or 1 / halved) / total))
    return float(np.exp(np.log(precisions).mean()))
