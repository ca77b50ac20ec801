"""`metric.json`: each model's figures, or each model's against the first one's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from services.evaluator.artefacts.figures import Figures, figures_of
from services.evaluator.artefacts.rows import LegacyReview
from shared.errors import InvalidRequest

_BASELINE = "gpt3.5"
"""What the file calls the first model, whichever it is."""


def metric_json(reviews: Sequence[LegacyReview], *, horizontal: bool, scores: bool) -> str:
    """Return the text of `metric.json`.

    Args:
        reviews: one a question, in the order of the questions.
        horizontal: all models side by side; else the first one is what others are measured by.
        scores: the reviews hold scores, not ranks.

    Raises:
        InvalidRequest: no question counts, or there is nothing to measure the others by.
    """
    figures = figures_of(reviews, scores=scores)
    told = _side_by_side(figures) if horizontal else _against_first(figures)
    return json.dumps(told, indent=4) + "\n"


def _side_by_side(figures: Figures) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for column, model in enumerate(figures.models):
        order = {"order": figures.mean(figures.ranks[column])} if figures.ranks else {}
        told[model] = {**order, "score": figures.mean(figures.scores[column])}
    return told


def _against_first(figures: Figures) -> dict[str, Any]:
    ranks, scores = figures.ranks, figures.scores
    if not scores[0]:
        raise InvalidRequest("the first model has no score to measure the others by")
    told: dict[str, Any] = {}
    for column, model in list(enumerate(figures.models))[1:]:
        first, tie, own = figures.better[column]
        parts: dict[str, Any] = {
            "winning": {_BASELINE: first, "tie": tie, "model": own, "%model": figures.mean(own)}
        }
        if ranks:
            parts["order"] = {
                _BASELINE: figures.mean(ranks[0]),
                "model": figures.mean(ranks[column]),
            }
        parts["score"] = {
            _BASELINE: figures.mean(scores[0]),
            "model": figures.mean(scores[column]),
            "%model": scores[column] / scores[0],
        }
        told[model] = parts
    return told
