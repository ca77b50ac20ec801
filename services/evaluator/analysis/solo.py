"""Verdicts on one answer alone, set beside each other.

A grader looks at one candidate's answer at a time. What it says of several candidates' answers to
one question is compared as if it had seen them together; nobody stood before another, so nothing
of it says anything of the place in a line-up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from services.evaluator.analysis.rows import Review
from services.evaluator.ranks import ranks_of


def joined(reviews: Sequence[Review]) -> tuple[list[Review], list[Review]]:
    """Return the reviews of line-ups, and those of one answer each joined by what they are about.

    Those of one answer that say nothing stay as they are, among the first.
    """
    kept: list[Review] = []
    alone: dict[tuple[str, str, str, int], list[Review]] = {}
    for review in reviews:
        clean = _readable(review)
        if len(clean.lineup) != 1 or clean.scores is None:
            kept.append(clean)
            continue
        key = (clean.question, clean.dimension, clean.judge, clean.repeat)
        alone.setdefault(key, []).append(clean)
    return kept, [_together(group) for group in alone.values()]


def _readable(review: Review) -> Review:
    """Return a review that has scores where it can, and none of a verdict that fits no line-up."""
    scores, ranks = review.scores, review.ranks
    if scores is None and review.passed is not None and len(review.lineup) == 1:
        scores = (float(review.passed),)
    if not _fits(review.lineup, scores) or not _fits(review.lineup, ranks):
        return replace(review, ranks=None, scores=None, passed=None)
    if ranks is None and scores is not None:
        ranks = tuple(ranks_of(scores))
    elif ranks is not None and not 1 == min(ranks) <= max(ranks) <= len(ranks):
        ranks = tuple(ranks_of([-rank for rank in ranks]))
    if scores is review.scores and ranks is review.ranks:
        return review
    return replace(review, ranks=ranks, scores=scores)


def _fits(lineup: Sequence[str], values: Sequence[float] | None) -> bool:
    """Return whether there is a number for each candidate, and each stands there once."""
    return values is None or (
        len(values) == len(lineup) == len(set(lineup)) > 0
        and all(math.isfinite(value) for value in values)
    )


def _together(group: list[Review]) -> Review:
    """Return one review of all candidates that the group is about; the last of each counts."""
    scores = {review.lineup[0]: review.scores[0] for review in group if review.scores}
    return replace(
        group[0],
        lineup=tuple(scores),
        scores=tuple(scores.values()),
        ranks=tuple(ranks_of(list(scores.values()))),
        human=any(review.human for review in group),
        replaced_ranks=None,
        replaced_scores=None,
    )
