"""What the controller measures.

Owns names, labels and buckets. Every label value is bounded: routes are the known ones, models
those that workers announced, codes those seen on answers.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge

from shared.hot_metrics import Count, HotCounter, HotHistogram, Spread
from shared.metrics import LATENCY_BUCKETS, MOST_MODELS, OTHER, TOKEN_BUCKETS, TTFT_BUCKETS

HOT_ROUTES = ("/v1/chat/completions", "/v1/completions")
_ROUTES = frozenset(
    {
        *HOT_ROUTES,
        "/v1/models",
        "/v1/evals",
        "/v1/stats",
        "/metrics",
        "/metrics/targets",
        "/version",
        "/tokenize",
        "/detokenize",
        "/openapi.json",
    }
    | {"/health/live", "/health/ready"}
)
_CODES_AT_START = (200, 400, 401, 403, 404, 405, 413, 429, 499, 500, 502, 503, 504)
_PREFIXES = ("/v1/models/", "/v1/evals/", "/admin/")
CLIENT_GONE = 499
"""The code under which a request counts whose client left before an answer began."""

RETRY_REASONS = (
    "overloaded",
    "unavailable",
    "unreachable",
    "upstream_failed",
    "upstream_timeout",
)
OVERHEAD_BUCKETS = (
    0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0,
)  # fmt: skip


class ControllerMetrics:
    """All metrics of one controller."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register them, with the labels that are known from the start."""
        self.requests = HotCounter(
            "llmzoo_http_requests_total", "Answers sent", ["route", "code"], registry
        )
        self.inflight = 0
        inflight = Gauge(
            "llmzoo_inflight_requests", "Chat and completion requests under way", registry=registry
        )
        inflight.set_function(lambda: self.inflight)
        self.overhead = HotHistogram(
            "llmzoo_router_overhead_seconds",
            "From a request's last byte to its dispatch to the first worker tried",
            [],
            buckets=OVERHEAD_BUCKETS,
            registry=registry,
        ).labels()
        self.retries = Counter(
            "llmzoo_router_retries_total",
            "Requests taken to another worker before their first frame",
            ["reason"],
            registry=registry,
        )
        self.cancellations = Counter(
            "llmzoo_cancellations_total", "Requests whose client left", ["phase"], registry=registry
        )
        self._ttft = HotHistogram(
            "llmzoo_time_to_first_token_seconds",
            "From a request's last byte to its first token",
            ["model"],
            buckets=TTFT_BUCKETS,
            registry=registry,
        )
        self._latency = HotHistogram(
            "llmzoo_e2e_request_latency_seconds",
            "From a request's last byte to the end of its answer",
            ["model"],
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self._per_token = HotHistogram(
            "llmzoo_request_time_per_output_token_seconds",
            "Seconds a token of an answer, after its first one and over all its choices",
            ["model"],
            buckets=TOKEN_BUCKETS,
            registry=registry,
        )
        self._prompt = HotCounter(
            "llmzoo_prompt_tokens_total", "Tokens of prompts", ["model"], registry
        )
        self._generated = HotCounter(
            "llmzoo_generation_tokens_total", "Tokens generated", ["model"], registry
        )
        self._models: dict[str, ModelMetrics] = {}
        self._counts: dict[tuple[str, int], Count] = {}
        self._bind_labels()

    def count(self, path: str, status: int) -> None:
        """Count an answer."""
        route = _route(path)
        count = self._counts.get((route, status))
        if count is None:
            count = self._counts[route, status] = self.requests.labels(route, str(status))
        count.inc()

    def model(self, name: str) -> ModelMetrics:
        """Return the metrics of a model that a worker announced, bound once."""
        if name not in self._models:
            name = name if len(self._models) < MOST_MODELS else OTHER
        if name not in self._models:
            self._models[name] = ModelMetrics(
                self._ttft.labels(name),
                self._latency.labels(name),
                self._per_token.labels(name),
                self._prompt.labels(name),
                self._generated.labels(name),
            )
        return self._models[name]

    def _bind_labels(self) -> None:
        for route in HOT_ROUTES:
            for code in _CODES_AT_START:
                self.requests.labels(route, str(code))
        for reason in RETRY_REASONS:
            self.retries.labels(reason)
        for phase in ("waiting", "answering"):
            self.cancellations.labels(phase)


@dataclass(frozen=True, slots=True)
class ModelMetrics:
    """One model's metrics."""

    ttft: Spread
    latency: Spread
    per_token: Spread
    prompt_tokens: Count
    generation_tokens: Count


class Meter:
    """Times one request; starts when its body is there."""

    def __init__(self, metrics: ModelMetrics, started: float) -> None:
        """Time from `started`, in seconds of the monotonic clock."""
        self._metrics = metrics
        self._started = started
        self._first_at = 0.0
        self._tokens = 0

    def prompt(self, tokens: int) -> None:
        """Count the prompt."""
        self._metrics.prompt_tokens.inc(tokens)

    def begun(self) -> None:
        """Take over an answer whose first token came elsewhere, and is not timed here."""
        self._first_at, self._tokens = time.monotonic(), 1

    def generated(self, tokens: int) -> None:
        """Count new tokens and time the first."""
        if tokens and not self._tokens:
            self._first_at = time.monotonic()
            self._metrics.ttft.observe(self._first_at - self._started)
        self._tokens += tokens
        self._metrics.generation_tokens.inc(tokens)

    def finished(self) -> None:
        """Time a whole answer."""
        now = time.monotonic()
        self._metrics.latency.observe(now - self._started)
        if self._tokens > 1:
            self._metrics.per_token.observe((now - self._first_at) / (self._tokens - 1))


def _route(path: str) -> str:
    if path in _ROUTES:
        return path
    for prefix in _PREFIXES:
        if path.startswith(prefix):
            return prefix.rstrip("/")
    return "other"
