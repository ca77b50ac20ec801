"""Which parts of the reviews are counted by themselves.

Overall first; then each dimension, category, language and judge; then each dimension in each
category and in each language; then, where there are several of both, in each category of each
language.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from services.evaluator.analysis.arrays import Bools
from services.evaluator.analysis.rows import Review


@dataclass(frozen=True, slots=True)
class ScopeKey:
    """A part of the reviews; what is None is not looked at."""

    dimension: str | None = None
    category: str | None = None
    language: str | None = None
    judge: str | None = None

    @property
    def plain(self) -> bool:
        """Return whether it is everything, or everything of one dimension."""
        return self.category is None and self.language is None and self.judge is None


def parts_of(reviews: list[Review], most: int) -> tuple[list[tuple[ScopeKey, Bools]], int]:
    """Return the first `most` parts with the reviews of each, and how many there would be more."""
    rows: dict[ScopeKey, list[int]] = {key: [] for key in _ordered(reviews)}
    for row, review in enumerate(reviews):
        for key in _of(review):
            if key in rows:
                rows[key].append(row)
    parts: list[tuple[ScopeKey, Bools]] = []
    for key, own in list(rows.items())[:most]:
        chosen: Bools = np.zeros(len(reviews), dtype=np.bool_)
        chosen[own] = True
        parts.append((key, chosen))
    return parts, max(0, len(rows) - most)


def _ordered(reviews: list[Review]) -> Iterator[ScopeKey]:
    dimensions = _values(review.dimension for review in reviews)
    categories = _values(review.category for review in reviews)
    languages = _values(review.language for review in reviews)
    judges = _values(review.judge for review in reviews)
    if reviews:
        yield ScopeKey()
    yield from (ScopeKey(dimension=name) for name in dimensions)
    yield from (ScopeKey(category=name) for name in categories)
    yield from (ScopeKey(language=name) for name in languages)
    yield from (ScopeKey(judge=name) for name in judges if len(judges) > 1)
    present = {(review.dimension, review.category) for review in reviews}
    spoken = {(review.dimension, review.language) for review in reviews}
    for one in dimensions:
        yield from (ScopeKey(one, category=name) for name in categories if (one, name) in present)
    for one in dimensions:
        yield from (ScopeKey(one, language=name) for name in languages if (one, name) in spoken)
    if len(categories) > 1 and len(languages) > 1:
        yield from _narrowest(reviews, dimensions, categories, languages)


def _narrowest(
    reviews: list[Review], dimensions: list[str], categories: list[str], languages: list[str]
) -> Iterator[ScopeKey]:
    """Yield each dimension in each category of each language in which something was asked."""
    present = {(review.dimension, review.category, review.language) for review in reviews}
    for found in product(dimensions, categories, languages):
        if found in present:
            yield ScopeKey(*found)


def _of(review: Review) -> Iterator[ScopeKey]:
    yield ScopeKey()
    yield ScopeKey(dimension=review.dimension)
    yield ScopeKey(judge=review.judge)
    if review.category is not None:
        yield ScopeKey(category=review.category)
        yield ScopeKey(review.dimension, category=review.category)
    if review.language is not None:
        yield ScopeKey(language=review.language)
        yield ScopeKey(review.dimension, language=review.language)
    if review.category is not None and review.language is not None:
        yield ScopeKey(review.dimension, review.category, review.language)


def _values(values: Iterable[str | None]) -> list[str]:
    """Return what there is, in order; graders without a model have no judge's name."""
    return [value for value in dict.fromkeys(values) if value]
