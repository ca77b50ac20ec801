"""All figures of a run from its rows: the entry to the analysis.

Light to import: what counts is loaded when something is first counted.
"""

from __future__ import annotations

from collections.abc import Sequence

from services.evaluator.analysis.options import AnalysisOptions
from services.evaluator.analysis.rows import AnswerRow, Review
from shared.protocol.evals.results import Results


def results_of(
    reviews: Sequence[Review], answers: Sequence[AnswerRow], options: AnalysisOptions
) -> Results:
    """Return all figures; the same rows, seed and resamples give the same ones.

    Takes seconds of one processor: callers run it in a process or thread of its own.
    """
    from services.evaluator.analysis.assembly import counted_results  # noqa: PLC0415 - brings scipy

    return counted_results(reviews, answers, options)
