"""The worker's metrics, each with the served model's name as its label.

Owns names and labels. The engine's own counts are read from it at each scrape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import attrgetter

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from services.worker.engine_client import EngineStats
from shared.errors import LLMZooError
from shared.metrics import LATENCY_BUCKETS, TOKEN_BUCKETS, TTFT_BUCKETS

_FINISH_REASONS = ("stop", "length", "abort")
_ORPHAN_OUTCOMES = ("taken_over", "ended", "expired", "aborted")
_ERROR_TYPES = ("invalid_request_error", "authentication_error", "rate_limit_error", "server_error")


class WorkerMetrics:
    """What a worker counts while it serves; every series exists from the start."""

    def __init__(self, registry: CollectorRegistry, model: str) -> None:
        """Register the metrics."""
        self._model = model

        def counter(name: str, text: str) -> Counter:
            return Counter(name, text, ["model"], registry=registry).labels(model)

        def histogram(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            family = Histogram(name, text, ["model"], registry=registry, buckets=buckets)
            return family.labels(model)

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(name, text, ["model"], registry=registry).labels(model)

        self.inflight = gauge("llmzoo_inflight_requests", "Requests being answered")
        self.load_seconds = gauge("llmzoo_model_load_seconds", "Time the model took to load")
        self.prompt_tokens = counter("llmzoo_prompt_tokens_total", "Prompt tokens taken in")
        self.generation_tokens = counter("llmzoo_generation_tokens_total", "Tokens generated")
        self.time_to_first_token = histogram(
            "llmzoo_time_to_first_token_seconds", "From request to first token", TTFT_BUCKETS
        )
        self.inter_token_latency = histogram(
            "llmzoo_inter_token_latency_seconds", "Between two tokens of a choice", TOKEN_BUCKETS
        )
        self.request_latency = histogram(
            "llmzoo_e2e_request_latency_seconds", "From request to last byte", LATENCY_BUCKETS
        )
        self._success = Counter(
            "llmzoo_request_success_total",
            "Choices by finish reason",
            ["model", "finish_reason"],
            registry=registry,
        )
        self._errors = Counter(
            "llmzoo_request_errors_total",
            "Requests that got an error, by its type",
            ["model", "type"],
            registry=registry,
        )
        self.orphans = gauge("llmzoo_num_orphans", "Answers whose reader left before their end")
        self._orphans = Counter(
            "llmzoo_orphans_total",
            "Such answers by what became of them",
            ["model", "outcome"],
            registry=registry,
        )
        for outcome in _ORPHAN_OUTCOMES:
            self._orphans.labels(model, outcome)
        for reason in _FINISH_REASONS:
            self._success.labels(model, reason)
        for error_type in _ERROR_TYPES:
            self._errors.labels(model, error_type)

    def count_finish(self, reason: str) -> None:
        """Count one choice that ended."""
        self._success.labels(self._model, reason).inc()

    def count_orphan(self, outcome: str) -> None:
        """Count one orphan that is none any more."""
        self._orphans.labels(self._model, outcome).inc()

    def count_error(self, fault: LLMZooError) -> None:
        """Count one request that got an error."""
        self._errors.labels(self._model, fault.type).inc()


class EngineCollector(Collector):
    """Shows the engine's state as it is at the scrape; zeros before there is one."""

    def __init__(self, model: str, stats: Callable[[], EngineStats | None]) -> None:
        """Ask `stats` at each scrape."""
        self._model = model
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        """Yield one family a number."""
        now = self._stats()
        for kind, numbers in ((GaugeMetricFamily, _GAUGES), (CounterMetricFamily, _COUNTERS)):
            for name, text, number in numbers:
                family = kind(name, text, labels=["model"])
                family.add_metric([self._model], number(now) if now else 0)
                yield family


def _usage(now: EngineStats) -> float:
    return now.kv_tokens_used / now.kv_tokens_total if now.kv_tokens_total else 0


def _waste(now: EngineStats) -> float:
    # The engine may be between the two counts.
    return 1 - min(1, now.kv_tokens_held / now.kv_tokens_used) if now.kv_tokens_used else 0


_Numbers = tuple[tuple[str, str, Callable[[EngineStats], float]], ...]

_GAUGES: _Numbers = (
    ("llmzoo_num_requests_running", "Sequences that decode", attrgetter("running")),
    ("llmzoo_num_requests_waiting", "Sequences that wait", attrgetter("waiting")),
    ("llmzoo_kv_cache_usage_ratio", "Part of the KV cache in use", _usage),
    ("llmzoo_kv_cache_waste_ratio", "Part of what is in use that holds no token", _waste),
)
_COUNTERS: _Numbers = (
    ("llmzoo_engine_steps", "Steps of the engine", attrgetter("steps")),
    ("llmzoo_num_preemptions", "Batch sequences that made room", attrgetter("preemptions")),
    (
        "llmzoo_prefix_cache_queries",
        "Tokens looked for among the prefixes kept",
        attrgetter("prefix_queried_tokens"),
    ),
    (
        "llmzoo_prefix_cache_hits",
        "Tokens reused and not computed again",
        attrgetter("prefix_reused_tokens"),
    ),
    (
        "llmzoo_spec_decode_draft_tokens",
        "Tokens tried before they were drawn",
        attrgetter("drafted_tokens"),
    ),
    (
        "llmzoo_spec_decode_accepted_tokens",
        "Tokens tried that were drawn then",
        attrgetter("accepted_tokens"),
    ),
    ("llmzoo_engine_faults", "Steps that failed", attrgetter("faults")),
)
