"""Counters and histograms for code that runs for every request, on one thread.

prometheus-client's are locked, and ask at each count whether they are allowed to; nine of them
cost a request as much as its routing. These are plain numbers until they are scraped. Owns the
numbers; names and labels are given by who makes them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from math import inf

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString  # pyright: ignore[reportUnknownVariableType]


class Count:
    """One series of a counter."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        """Start at 0."""
        self.value = 0.0

    def inc(self, amount: float = 1) -> None:
        """Count `amount` more."""
        self.value += amount


class HotCounter(Collector):
    """A counter; its name ends with `_total`, as it is shown."""

    def __init__(
        self, name: str, documentation: str, labels: Sequence[str], registry: CollectorRegistry
    ) -> None:
        """Register it."""
        self._name, self._documentation, self._labels = name, documentation, labels
        self._series: dict[tuple[str, ...], Count] = {}
        registry.register(self)

    def labels(self, *values: str) -> Count:
        """Return the series of these labels, made when it is asked for first."""
        return self._series.setdefault(values, Count())

    def describe(self) -> Iterator[Metric]:
        """Name the metric."""
        yield CounterMetricFamily(self._name, self._documentation, labels=self._labels)

    def collect(self) -> Iterator[Metric]:
        """Yield the series as they are now."""
        family = CounterMetricFamily(self._name, self._documentation, labels=self._labels)
        for values, count in list(self._series.items()):
            family.add_metric(values, count.value)
        yield family


class Spread:
    """One series of a histogram."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        """Start with nothing."""
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Count a value into its bucket; a bucket's bound belongs to it."""
        self.counts[bisect_left(self._bounds, value)] += times
        self.total += value * times


class HotHistogram(Collector):
    """A histogram."""

    def __init__(
        self,
        name: str,
        documentation: str,
        labels: Sequence[str],
        *,
        buckets: Sequence[float],
        registry: CollectorRegistry,
    ) -> None:
        """Register it; `buckets` are upper bounds, rising."""
        self._name, self._documentation, self._labels = name, documentation, labels
        self._bounds = tuple(buckets)
        self._series: dict[tuple[str, ...], Spread] = {}
        registry.register(self)

    def labels(self, *values: str) -> Spread:
        """Return the series of these labels, made when it is asked for first."""
        return self._series.setdefault(values, Spread(self._bounds))

    def describe(self) -> Iterator[Metric]:
        """Name the metric."""
        yield HistogramMetricFamily(self._name, self._documentation, labels=self._labels)

    def collect(self) -> Iterator[Metric]:
        """Yield the series as they are now."""
        family = HistogramMetricFamily(self._name, self._documentation, labels=self._labels)
        for values, spread in list(self._series.items()):
            buckets: list[tuple[str, float]] = []
            below = 0
            for bound, count in zip((*self._bounds, inf), spread.counts, strict=True):
                below += count
                buckets.append((floatToGoString(bound), below))
            family.add_metric(values, buckets, spread.total)
        yield family
