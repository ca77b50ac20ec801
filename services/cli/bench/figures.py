"""Samples -> figures: rates, percentiles and counts.

Owns how several tokens in one piece are counted. Knows no server and no engine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from services.cli.bench.sample import Outcome, Sample

_PERCENT = (50, 95, 99)
_MILLISECONDS = 1000.0


@dataclass(frozen=True, slots=True)
class Percentiles:
    """In milliseconds; None where nothing could be measured."""

    p50: float | None
    p95: float | None
    p99: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one load gave.

    `prompt_tokens` and `output_tokens_per_request` are means. Times, requests per second and the
    means are those of completed requests; the tokens also count what had come of requests that
    Ctrl-C ended.
    """

    seconds: float
    completed: int
    rejected: int
    failed: int
    interrupted: int
    faults: dict[str, int]
    output_tokens: int
    output_tokens_per_second: float
    output_tokens_per_request: float | None
    requests_per_second: float
    prompt_tokens: float | None
    counted_by: list[str]
    ttft_ms: Percentiles
    itl_ms: Percentiles
    e2e_ms: Percentiles


def figures(samples: Sequence[Sample], seconds: float) -> Figures:
    """Return the figures of what ran within `seconds`."""
    count = Counter(sample.outcome for sample in samples)
    completed = [sample for sample in samples if sample.outcome is Outcome.COMPLETED]
    counted = [s for s in samples if s.outcome in {Outcome.COMPLETED, Outcome.INTERRUPTED}]
    heard = [sample for sample in counted if sample.arrivals]
    tokens = sum(_tokens(sample) for sample in counted)
    return Figures(
        seconds=seconds,
        completed=count[Outcome.COMPLETED],
        rejected=count[Outcome.REJECTED],
        failed=count[Outcome.FAILED],
        interrupted=count[Outcome.INTERRUPTED],
        faults=fault_counts(samples),
        output_tokens=tokens,
        output_tokens_per_second=tokens / seconds if seconds else 0.0,
        output_tokens_per_request=_mean([sample.output_tokens for sample in completed]),
        requests_per_second=len(completed) / seconds if seconds else 0.0,
        prompt_tokens=_mean([s.prompt_tokens for s in completed if s.prompt_tokens is not None]),
        counted_by=sorted({sample.counted_by for sample in completed}),
        ttft_ms=_percentiles((s.arrivals[0] - s.started, 1.0) for s in heard),
        itl_ms=_percentiles(pair for sample in heard for pair in inter_token_latencies(sample)),
        e2e_ms=_percentiles((s.ended - s.started, 1.0) for s in completed),
    )


def fault_counts(samples: Iterable[Sample]) -> dict[str, int]:
    """Return how often each fault was met, the commonest first."""
    return dict(Counter(sample.fault for sample in samples if sample.fault).most_common())


def inter_token_latencies(sample: Sample) -> list[tuple[float, float]]:
    """Return (seconds, weight) for the gaps between a request's pieces.

    A piece may hold several tokens, and no server says how many. So the request's tokens are
    spread evenly over its pieces: with n tokens in m pieces each of the m - 1 gaps stands for
    k = (n - 1) / (m - 1) latencies of gap / k. With one token a piece, k is 1.
    """
    gaps = [later - earlier for earlier, later in pairwise(sample.arrivals)]
    tokens = _tokens(sample)
    if not gaps or tokens < 2:  # noqa: PLR2004 - one token has no latency to the next
        return []
    k = (tokens - 1) / len(gaps)
    return [(gap / k, k) for gap in gaps]


def percentile(weighted: Sequence[tuple[float, float]], percent: float) -> float:
    """Return the least value that `percent` of the weight does not exceed (nearest rank).

    Args:
        weighted: (value, weight), ascending, at least one.
        percent: 0 to 100.
    """
    rank = sum(weight for _, weight in weighted) * percent / 100
    reached = 0.0
    for value, weight in weighted:
        reached += weight
        # Weights are fractions: a sum that is a bit short must not cost a whole rank.
        if reached >= rank - 1e-9:
            return value
    return weighted[-1][0]


def _percentiles(weighted: Iterable[tuple[float, float]]) -> Percentiles:
    ascending = sorted(weighted)
    if not ascending:
        return Percentiles(None, None, None)
    return Percentiles(*(percentile(ascending, p) * _MILLISECONDS for p in _PERCENT))


def _tokens(sample: Sample) -> int:
    # A request that was ended half-way has no usage: its pieces are what is known.
    return sample.output_tokens or len(sample.arrivals)


def _mean(numbers: Sequence[int]) -> float | None:
    return sum(numbers) / len(numbers) if numbers else None
