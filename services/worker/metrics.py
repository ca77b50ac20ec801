"""What a worker counts while it serves, each with the served model's name as its label.

Owns names, labels and buckets. What is counted for every request is counted on the event loop
alone, where it is scraped as well.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge

from shared.errors import LLMZooError
from shared.hot_metrics import HotCounter, HotHistogram, Spread
from shared.metrics import LATENCY_BUCKETS, LENGTH_BUCKETS, TOKEN_BUCKETS, TTFT_BUCKETS

_FINISH_REASONS = ("stop", "length", "abort")
_ORPHAN_OUTCOMES = ("taken_over", "ended", "expired", "aborted")
_ERROR_TYPES = ("invalid_request_error", "authentication_error", "rate_limit_error", "server_error")


class WorkerMetrics:
    """Every series exists from the start."""

    def __init__(self, registry: CollectorRegistry, model: str) -> None:
        """Register the metrics."""
        self._registry = registry
        self._model = model
        self.inflight = self._gauge("llmzoo_inflight_requests", "Requests being answered")
        self.load_seconds = self._gauge(
            "llmzoo_model_load_seconds", "Time the model took to load; 0 until then"
        )
        self.orphans = self._gauge("llmzoo_num_orphans", "Answers whose reader left too early")
        self._bind_tokens()
        self._bind_times()
        self._bind_ends()

    def count_finish(self, reason: str) -> None:
        """Count one choice that ended."""
        self._success.labels(self._model, reason).inc()

    def count_orphan(self, outcome: str) -> None:
        """Count one orphan that is none any more."""
        self._orphans.labels(self._model, outcome).inc()

    def count_error(self, fault: LLMZooError) -> None:
        """Count one request that got an error."""
        self._errors.labels(self._model, fault.type).inc()

    def _bind_tokens(self) -> None:
        def counter(name: str, text: str) -> HotCounter:
            return HotCounter(name, text, ["model"], self._registry)

        prompt = counter("llmzoo_prompt_tokens_total", "Prompt tokens taken in")
        self.prompt_tokens = prompt.labels(self._model)
        generated = counter("llmzoo_generation_tokens_total", "Tokens generated")
        self.generation_tokens = generated.labels(self._model)
        lengths = LENGTH_BUCKETS
        self.prompt_length = self._histogram(
            "llmzoo_request_prompt_tokens", "Tokens of a choice's prompt", lengths
        )
        self.generation_length = self._histogram(
            "llmzoo_request_generation_tokens", "Tokens of a choice", lengths
        )

    def _bind_times(self) -> None:
        self.time_to_first_token = self._histogram(
            "llmzoo_time_to_first_token_seconds", "From request to first token", TTFT_BUCKETS
        )
        self.inter_token_latency = self._histogram(
            "llmzoo_inter_token_latency_seconds", "Between two tokens of a choice", TOKEN_BUCKETS
        )
        self.time_per_token = self._histogram(
            "llmzoo_request_time_per_output_token_seconds",
            "Time a token of a choice after its first one, on average",
            TOKEN_BUCKETS,
        )
        self.request_latency = self._histogram(
            "llmzoo_e2e_request_latency_seconds", "From request to last byte", LATENCY_BUCKETS
        )
        self.queue_time = self._histogram(
            "llmzoo_request_queue_time_seconds",
            "From a choice's submission to its admission",
            TTFT_BUCKETS,
        )
        self.prefill_time = self._histogram(
            "llmzoo_request_prefill_time_seconds",
            "From a choice's admission to its first token",
            TTFT_BUCKETS,
        )
        self.decode_time = self._histogram(
            "llmzoo_request_decode_time_seconds",
            "From a choice's first token to its last",
            LATENCY_BUCKETS,
        )
        self.inference_time = self._histogram(
            "llmzoo_request_inference_time_seconds",
            "From a choice's admission to its last token",
            LATENCY_BUCKETS,
        )

    def _bind_ends(self) -> None:
        def counter(name: str, text: str, label: str, values: tuple[str, ...]) -> Counter:
            family = Counter(name, text, ["model", label], registry=self._registry)
            for value in values:
                family.labels(self._model, value)
            return family

        self._success = counter(
            "llmzoo_request_success_total",
            "Choices by finish reason",
            "finish_reason",
            _FINISH_REASONS,
        )
        self._errors = counter(
            "llmzoo_request_errors_total",
            "Requests that got an error, by its type",
            "type",
            _ERROR_TYPES,
        )
        self._orphans = counter(
            "llmzoo_orphans_total",
            "Answers whose reader left too early, by what became of them",
            "outcome",
            _ORPHAN_OUTCOMES,
        )

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, ["model"], registry=self._registry).labels(self._model)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Spread:
        family = HotHistogram(name, text, ["model"], buckets=buckets, registry=self._registry)
        return family.labels(self._model)
