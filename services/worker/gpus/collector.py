"""The metrics of a worker's GPUs, read from NVML when they are scraped.

Owns their names. There are none without a lease, without NVML, and while it does not answer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from services.worker.gpus.nvml import Nvml, NvmlFault, Reading

_FRESH_SECONDS = 1.0
# That a scrape, which holds up the event loop, waits for NVML.
_MOST_SECONDS = 0.25


class GpuCollector(Collector):
    """Shows the GPUs that `gpus` names, by NVML's index."""

    def __init__(
        self,
        nvml: Nvml,
        gpus: Callable[[], tuple[str, ...]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read nothing before the first scrape; `clock` is in seconds."""
        self._nvml = nvml
        self._gpus = gpus
        self._clock = clock
        self._readings: list[Reading] = []
        self._read_at = -_FRESH_SECONDS
        self._reading: threading.Thread | None = None

    def describe(self) -> Iterator[Metric]:
        """Name the metrics."""
        yield from _families()

    def collect(self) -> Iterator[Metric]:
        """Yield what was read within the last second."""
        gpus = self._gpus()
        if not gpus:
            return
        self._refresh(gpus)
        if self._clock() - self._read_at > _FRESH_SECONDS:
            return
        info, memory, utilization, temperature = families = _families()
        for reading in self._readings:
            gpu = reading.gpu
            info.add_metric([gpu.index, gpu.uuid, gpu.name], 1)
            for kind, size in (("used", gpu.used), ("free", gpu.free), ("total", gpu.total)):
                memory.add_metric([gpu.index, kind], size)
            if reading.utilization is not None:
                utilization.add_metric([gpu.index], reading.utilization)
            if reading.celsius is not None:
                temperature.add_metric([gpu.index], reading.celsius)
        yield from (family for family in families if family.samples)

    def _refresh(self, gpus: tuple[str, ...]) -> None:
        """Read, in a thread that may hang; while one hangs, no other is begun nor waited for."""
        if self._clock() - self._read_at <= _FRESH_SECONDS:
            return
        if self._reading is not None and self._reading.is_alive():
            return
        self._reading = threading.Thread(target=self._read, args=(gpus,), name="nvml", daemon=True)
        self._reading.start()
        self._reading.join(_MOST_SECONDS)

    def _read(self, gpus: tuple[str, ...]) -> None:
        try:
            self._readings = self._nvml.readings(gpus)
            self._read_at = self._clock()
        except NvmlFault:
            # The watch tells of it; here they are absent.
            self._readings = []


def _families() -> tuple[GaugeMetricFamily, ...]:
    return (
        GaugeMetricFamily(
            "llmzoo_worker_gpu_info", "A GPU of the worker", labels=["gpu", "uuid", "name"]
        ),
        GaugeMetricFamily(
            "llmzoo_gpu_memory_bytes", "Memory, by whomever it is used", labels=["gpu", "kind"]
        ),
        GaugeMetricFamily(
            "llmzoo_gpu_utilization_ratio", "Part of the time in which it computes", labels=["gpu"]
        ),
        GaugeMetricFamily("llmzoo_gpu_temperature_celsius", "Its temperature", labels=["gpu"]),
    )
