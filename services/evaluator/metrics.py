"""The evaluator's metrics. Owns their names and labels; the heartbeat's are its own."""

from __future__ import annotations

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
