"""What the web UI counts. Owns names, labels and buckets; knows nothing of pages."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from shared.errors import LLMZooError
from shared.metrics import OTHER, TTFT_BUCKETS

VOTES = ("upvote", "downvote", "flag")
FINISHES = ("stop", "length", "cancelled", "error")
_ERROR_TYPES = (
    "server_error",
    "invalid_request_error",
    "rate_limit_error",
    "authentication_error",
    "permission_error",
    OTHER,
)


class WebuiMetrics:
    """The web UI's own metrics, each with its label values made at start."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register the metrics."""
        self.sessions = Gauge("llmzoo_webui_sessions", "Pages open now", registry=registry)
        self.requests = Counter(
            "llmzoo_webui_requests_total",
            "Answers asked for, by how they ended",
            ["finish_reason"],
            registry=registry,
        )
        self.votes = Counter(
            "llmzoo_webui_votes_total", "Votes on answers", ["kind"], registry=registry
        )
        self._errors = Counter(
            "llmzoo_request_errors_total",
            "Answers that failed, by the error's type as their server tells it, if it is known",
            ["type"],
            registry=registry,
        )
        self.time_to_first_token = Histogram(
            "llmzoo_time_to_first_token_seconds",
            "From sending a message to the first piece of its answer, seen from the page",
            buckets=TTFT_BUCKETS,
            registry=registry,
        )
        self.log_failures = Counter(
            "llmzoo_webui_log_failures_total",
            "Lines that could not be written to the conversation log",
            registry=registry,
        )
        for finish in FINISHES:
            self.requests.labels(finish)
        for kind in VOTES:
            self.votes.labels(kind)
        for error_type in _ERROR_TYPES:
            self._errors.labels(error_type)

    def count_error(self, fault: LLMZooError) -> None:
        """Count an answer that failed."""
        self._errors.labels(fault.type if fault.type in _ERROR_TYPES else OTHER).inc()
