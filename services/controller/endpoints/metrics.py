"""What is measured of endpoints: calls, tokens, money, places.

Owns names and labels; label values are the names in the endpoints file and our own words.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from services.controller.endpoints.config import Prices
from services.controller.endpoints.usage import Usage
from shared.metrics import TTFT_BUCKETS

OUTCOMES = ("answered", "refused", "overloaded", "failed", "left", "limited", "put_aside")
_MILLION = 1_000_000


class EndpointMetrics:
    """All metrics of all endpoints."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register them."""
        self._calls = Counter(
            "llmzoo_endpoint_requests_total",
            "Calls to endpoints; limited and put_aside ones were not sent",
            ["endpoint", "outcome"],
            registry=registry,
        )
        self._first_byte = Histogram(
            "llmzoo_endpoint_first_byte_seconds",
            "From a call's sending to the first byte of its answer",
            ["endpoint"],
            buckets=TTFT_BUCKETS,
            registry=registry,
        )
        self._tokens = Counter(
            "llmzoo_endpoint_tokens_total",
            "Tokens that endpoints told",
            ["endpoint", "kind"],
            registry=registry,
        )
        self._cost = Counter(
            "llmzoo_endpoint_cost_total",
            "What those tokens cost, by the prices in the endpoints file",
            ["endpoint", "currency"],
            registry=registry,
        )
        self._untold = Counter(
            "llmzoo_endpoint_untold_usage_total",
            "Answers whose endpoint told no tokens; their cost is not counted",
            ["endpoint"],
            registry=registry,
        )
        self._retries = Counter(
            "llmzoo_endpoint_retries_total",
            "Calls sent again before the first byte of an answer",
            ["endpoint"],
            registry=registry,
        )
        self._gauges = {
            name: Gauge(f"llmzoo_endpoint_{name}", told, ["endpoint"], registry=registry)
            for name, told in {
                "inflight": "Calls under way",
                "waiting": "Calls that wait for a place",
                "places": "Calls that may be under way at once",
                "put_aside": "1 while an endpoint that failed again and again is put aside",
            }.items()
        }

    def of(self, endpoint: str) -> Measures:
        """Return the metrics of one endpoint, bound."""
        return Measures(
            calls={outcome: self._calls.labels(endpoint, outcome) for outcome in OUTCOMES},
            first_byte=self._first_byte.labels(endpoint),
            retries=self._retries.labels(endpoint),
            untold=self._untold.labels(endpoint),
            tokens=(
                self._tokens.labels(endpoint, "input"),
                self._tokens.labels(endpoint, "output"),
            ),
            cost=lambda currency: self._cost.labels(endpoint, currency),
        )

    def observe(self, endpoint: str, **told: Callable[[], float]) -> None:
        """Let the gauges ask when they are scraped."""
        for name, tell in told.items():
            self._gauges[name].labels(endpoint).set_function(tell)


@dataclass(frozen=True, slots=True)
class Measures:
    """The metrics of one endpoint; `cost` is by currency."""

    calls: dict[str, Counter]
    first_byte: Histogram
    retries: Counter
    untold: Counter
    tokens: tuple[Counter, Counter]
    cost: Callable[[str], Counter]

    def count(self, usage: Usage | None, prices: Prices | None) -> None:
        """Count an answer's tokens and what they cost."""
        if usage is None:
            self.untold.inc()
            return
        for counter, tokens in zip(self.tokens, (usage.prompt, usage.completion), strict=True):
            counter.inc(tokens)
        if prices is not None:
            cost = usage.prompt * prices.input + usage.completion * prices.output
            self.cost(prices.currency).inc(cost / _MILLION)
