"""`ordering.txt`: the models by mean rank or mean score, in three columns."""

from __future__ import annotations

from collections.abc import Sequence

from services.evaluator.artefacts.figures import figures_of
from services.evaluator.artefacts.rows import LegacyReview

_BASELINE = "turbo"
"""What the file calls the first model where the others are measured by it."""
_HEAD = ("Model", "Ranking Score", "Rank")
_WIDTH = 30


def ordering_txt(reviews: Sequence[LegacyReview], *, horizontal: bool, scores: bool) -> str:
    """Return the text of `ordering.txt`; arguments and errors as of `metric_json`."""
    figures = figures_of(reviews, scores=scores)
    totals = figures.ranks or figures.scores
    rows = [
        (model, figures.mean(total)) for model, total in zip(figures.models, totals, strict=True)
    ]
    if not horizontal:
        # Sorting keeps equals as they stand, so the baseline comes behind those it ties with.
        rows = [*rows[1:], (_BASELINE, rows[0][1])]
    rows.sort(key=lambda row: row[1], reverse=not figures.ranks)
    values = [value for _, value in rows]
    lines = [_HEAD, *((name, repr(value), str(values.index(value) + 1)) for name, value in rows)]
    return "".join("".join(cell.ljust(_WIDTH) for cell in line) + "\n" for line in lines)
