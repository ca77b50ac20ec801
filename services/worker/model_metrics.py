"""What a worker serves and how far it is with it: facts, read when they are scraped.

Owns names, labels and their values. Of a model that is not there yet, or not compressed, there is
no series.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from services.worker.served_model import ServedModel
from shared.http.operations import VERSION
from shared.protocol.workers import State


class ModelCollector(Collector):
    """Tells of one worker's model."""

    def __init__(
        self,
        model: str,
        state: Callable[[], State],
        served: Callable[[], ServedModel | None],
    ) -> None:
        """Ask both at each scrape."""
        self._model = model
        self._state = state
        self._served = served

    def collect(self) -> Iterator[Metric]:
        """Yield the state, then what is known of the model."""
        states = GaugeMetricFamily(
            "llmzoo_worker_state", "1 for the state the worker is in", labels=["model", "state"]
        )
        now = self._state()
        for state in State:
            states.add_metric([self._model, state], state is now)
        yield states
        served = self._served()
        yield self._info(served)
        yield from self._compression(served)

    def _info(self, served: ServedModel | None) -> Metric:
        info = GaugeMetricFamily(
            "llmzoo_worker_info",
            "1; how the model is computed",
            labels=["model", "device", "dtype", "quantization", "version"],
        )
        if served is not None:
            facts = (served.device, served.dtype, served.quantization, VERSION)
            info.add_metric([self._model, *facts], 1)
        return info

    def _compression(self, served: ServedModel | None) -> Iterator[Metric]:
        ratio = GaugeMetricFamily(
            "llmzoo_compression_ratio",
            "Original bytes of the compressed weights over those that they take in memory",
            labels=["model"],
        )
        size = GaugeMetricFamily(
            "llmzoo_compression_bytes",
            "Bytes of the compressed weights: as they would be in the model's dtype, and packed",
            labels=["model", "kind"],
        )
        seconds = GaugeMetricFamily(
            "llmzoo_compression_seconds",
            "Time that the compressed weights took to be read, and packed unless they were",
            labels=["model"],
        )
        made = None if served is None else served.compression
        if made is not None:
            ratio.add_metric([self._model], made.original_bytes / made.packed_bytes)
            size.add_metric([self._model, "original"], made.original_bytes)
            size.add_metric([self._model, "packed"], made.packed_bytes)
            seconds.add_metric([self._model], made.seconds)
        yield from (ratio, size, seconds)
