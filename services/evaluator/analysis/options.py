"""What an analysis is told besides verdicts and answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from shared.protocol.evals.run import Usage


@dataclass(frozen=True, slots=True)
class AnalysisOptions:
    """Whose run it is, and how it is counted."""

    run_id: str
    eval_id: str
    digest: str
    mode: str
    complete: bool
    candidates: tuple[str, ...]
    weights: Mapping[str, float] = field(default_factory=dict[str, float])
    """Of dimensions in the composite; 1 where nothing is said."""
    scales: Mapping[str, tuple[float, float]] = field(
        default_factory=dict[str, tuple[float, float]]
    )
    """The lowest and the highest score of each dimension; 0 and 1 where nothing is said."""
    errored: int = 0
    """Items without a verdict because a call failed for good."""
    metrics: tuple[str, ...] = ()
    """Those without a judge, by the names of `EvalSpec.metrics`."""
    length_control: bool = True
    """Whether candidates have ratings without the part of length, beside the plain ones."""
    baseline: str | None = None
    seed: int = 0
    resamples: int = 2000
    usage: Usage = field(default_factory=Usage)
    models: Mapping[str, str] = field(default_factory=dict[str, str])
    """The model of a candidate that has another name; tells whether a judge is of its family."""
