"""The evaluator's metrics. Owns their names and labels; the heartbeat's are its own."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from shared.metrics import LATENCY_BUCKETS
from shared.protocol.evals.run import RunStatus

OPEN_STATES = (RunStatus.QUEUED, RunStatus.RUNNING)
ENDS = (RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELED)


class EvaluatorMetrics:
    """What one evaluator tells of its work."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register the metrics, every label at zero."""
        self.jobs = Gauge(
            "llmzoo_eval_jobs",
            "Open runs of the whole fleet by state",
            ["state"],
            registry=registry,
        )
        self.job_seconds = Histogram(
            "llmzoo_eval_job_seconds",
            "Seconds that this evaluator worked on a run, by how the run ended",
            ["state"],
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self.judge_calls = Counter(
            "llmzoo_judge_calls_total",
            "Calls to judges by outcome, retries not counted",
            ["outcome"],
            registry=registry,
        )
        self.judge_call_seconds = Histogram(
            "llmzoo_judge_call_seconds",
            "Seconds that a judge took to answer, without those waited before it was asked",
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self._progress_at: float | None = None
        oldest = Gauge(
            "llmzoo_eval_oldest_progress_age_seconds",
            "Since when the running run that stands still longest does so; 0: none runs",
            registry=registry,
        )
        oldest.set_function(self._progress_age)
        self.items = Counter(
            "llmzoo_eval_items_total", "Finished items by outcome", ["outcome"], registry=registry
        )
        self.faults = Counter(
            "llmzoo_eval_faults_total",
            "Failures of the evaluator itself that a broad handler caught",
            registry=registry,
        )
        self.lost = Counter(
            "llmzoo_eval_runs_lost_total",
            "Runs whose data Redis lost while this evaluator executed them",
            registry=registry,
        )
        for state in OPEN_STATES:
            self.jobs.labels(state)
        for state in ENDS:
            self.job_seconds.labels(state)
        for outcome in ("ok", "failed"):
            self.judge_calls.labels(outcome)
        for outcome in ("judged", "undecoded", "errored"):
            self.items.labels(outcome)

    def note_progress(self, oldest_age: float | None) -> None:
        """Note how many seconds ago that run last went on; None: no run is running."""
        self._progress_at = None if oldest_age is None else time.monotonic() - oldest_age

    def _progress_age(self) -> float:
        # It goes on while Redis cannot be asked.
        return 0.0 if self._progress_at is None else time.monotonic() - self._progress_at
