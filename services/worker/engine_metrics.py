"""What the engine counts itself, read from it at each scrape.

Owns names and texts, each with the served model's name as its label.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import attrgetter

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from services.worker.engine_client import EngineStats


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
    (
        "llmzoo_engine_resumed_sequences",
        "Sequences that go on after a failed step that they were in",
        attrgetter("resumed"),
    ),
)
