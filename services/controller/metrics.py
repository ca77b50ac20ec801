"""What the controller measures.

Owns names, labels and buckets. Every label value is bounded: routes are the known ones, models
those that workers announced, codes those seen on answers.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.metrics import LATENCY_BUCKETS, TTFT_BUCKETS
from shared.protocol.workers import State

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
    }
    | {"/health/live", "/health/ready"}
)
_PREFIXES = ("/v1/models/", "/v1/evals/")
_CODES_AT_START = (200, 400, 401, 404, 405, 413, 429, 499, 500, 502, 503, 504)
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
        self.requests = Counter(
            "llmzoo_http_requests_total", "Answers sent", ["route", "code"], registry=registry
        )
        self.inflight = Gauge(
            "llmzoo_inflight_requests", "Chat and completion requests under way", registry=registry
        )
        self.overhead = Histogram(
            "llmzoo_router_overhead_seconds",
            "From a request's last byte to its dispatch to the first worker tried",
            buckets=OVERHEAD_BUCKETS,
            registry=registry,
        )
        self.retries = Counter(
            "llmzoo_router_retries_total",
            "Requests taken to another worker before their first frame",
            ["reason"],
            registry=registry,
        )
        self.cancellations = Counter(
            "llmzoo_cancellations_total", "Requests whose client left", ["phase"], registry=registry
        )
        self.workers = Gauge("llmzoo_workers", "Workers by state", ["state"], registry=registry)
        self.staleness = Gauge(
            "llmzoo_registry_staleness_seconds",
            "Seconds since the last snapshot of the registry",
            registry=registry,
        )
        self._ttft = Histogram(
            "llmzoo_time_to_first_token_seconds",
            "From a request's last byte to its first token",
            ["model"],
            buckets=TTFT_BUCKETS,
            registry=registry,
        )
        self._latency = Histogram(
            "llmzoo_e2e_request_latency_seconds",
            "From a request's last byte to the end of its answer",
            ["model"],
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self._prompt = Counter(
            "llmzoo_prompt_tokens_total", "Tokens of prompts", ["model"], registry=registry
        )
        self._generated = Counter(
            "llmzoo_generation_tokens_total", "Tokens generated", ["model"], registry=registry
        )
        self._models: dict[str, ModelMetrics] = {}
        self._bind_labels()

    def observe_roster(
        self, workers_in: Callable[[State], int], staleness: Callable[[], float]
    ) -> None:
        """Let the gauges ask the roster when they are scraped."""
        for state in State:
            # The default argument binds this turn's state.
            self.workers.labels(state).set_function(lambda state=state: workers_in(state))
        self.staleness.set_function(staleness)

    def model(self, name: str) -> ModelMetrics:
        """Return the metrics of a model that a worker announced, bound once."""
        if name not in self._models:
            self._models[name] = ModelMetrics(
                self._ttft.labels(name),
                self._latency.labels(name),
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

    ttft: Histogram
    latency: Histogram
    prompt_tokens: Counter
    generation_tokens: Counter


class Meter:
    """Times one request; starts when its body is there."""

    def __init__(self, metrics: ModelMetrics, started: float) -> None:
        """Time from `started`, in seconds of the monotonic clock."""
        self._metrics = metrics
        self._started = started
        self._first = True

    def prompt(self, tokens: int) -> None:
        """Count the prompt."""
        self._metrics.prompt_tokens.inc(tokens)

    def generated(self, tokens: int) -> None:
        """Count new tokens and time the first."""
        if tokens and self._first:
            self._first = False
            self._metrics.ttft.observe(time.monotonic() - self._started)
        self._metrics.generation_tokens.inc(tokens)

    def finished(self) -> None:
        """Time a whole answer."""
        self._metrics.latency.observe(time.monotonic() - self._started)


class RequestCounter:
    """ASGI middleware that counts every answer by route and code."""

    def __init__(self, app: ASGIApp, metrics: ControllerMetrics) -> None:
        """Wrap `app`."""
        self._app = app
        self._requests = metrics.requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request and count it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        code = 0

        async def send_and_note(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
            code = code or CLIENT_GONE
        finally:
            # An exception without an answer is a 500 of the server's.
            self._requests.labels(_route(scope["path"]), str(code or 500)).inc()


def _route(path: str) -> str:
    if path in _ROUTES:
        return path
    for prefix in _PREFIXES:
        if path.startswith(prefix):
            return prefix.rstrip("/")
    return "other"
