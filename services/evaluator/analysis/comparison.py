"""Two runs beside each other, paired by question: the entry for comparing.

Light to import, as `results` is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from services.evaluator.analysis.rows import Review
from shared.protocol.evals.results import Comparison


@dataclass(frozen=True, slots=True)
class RunRows:
    """One run and its reviews."""

    run_id: str
    reviews: Sequence[Review]
    scales: Mapping[str, tuple[float, float]] = field(
        default_factory=dict[str, tuple[float, float]]
    )
    """As of `AnalysisOptions`."""


def compare_runs(
    first: RunRows, second: RunRows, *, seed: int = 0, resamples: int = 2000
) -> Comparison:
    """Return how each candidate of both runs changed from the first to the second."""
    from services.evaluator.analysis.changes import changes  # noqa: PLC0415 - brings scipy

    metric, questions, rows = changes(first, second, seed, resamples)
    return Comparison(
        run_id=first.run_id,
        other_run_id=second.run_id,
        metric=metric,
        questions=questions,
        rows=rows,
    )
