"""Expressions that stand on more than one dashboard.

Owns their forms. A ratio is one of sums and a quantile one of summed buckets, so that each stays
true over several workers and controllers.
"""

from __future__ import annotations

from dataclasses import dataclass

WINDOW = "$__rate_interval"
"""Grafana's own choice: long enough for four scrapes, and for the distance of two points."""

OBJECTIVE_SECONDS = 2.5
"""For the time to the first token; it is the rules' (recording.yml)."""

CONTROLLER = 'service="controller"'
EVALUATOR = 'service="evaluator"'
MODEL = 'model=~"$model"'
WORKER = f'service="worker", worker=~"$worker", {MODEL}'
GENERATING = f'{CONTROLLER}, route=~"/v1/(chat/)?completions"'
FAILED = f'{GENERATING}, code=~"5.."'

_LEAST_RATE = "1e-9"


@dataclass(frozen=True, slots=True)
class Query:
    """An expression and the name of what it gives, in which `{{label}}` stands for a label."""

    expr: str
    legend: str = ""


def total(series: str, *by: str) -> str:
    """Return the sum of gauges."""
    return f"sum{_by(by)} ({series})"


def largest(series: str, *by: str) -> str:
    """Return the largest: for what several services tell of the same thing."""
    return f"max{_by(by)} ({series})"


def per_second(series: str, *by: str, window: str = WINDOW) -> str:
    """Return how fast counters rise."""
    return total(f"rate({series}[{window}])", *by)


def rise(series: str, *by: str, window: str = WINDOW) -> str:
    """Return by how much counters rose."""
    return total(f"increase({series}[{window}])", *by)


def ratio(part: str, whole: str, *by: str, window: str = WINDOW) -> str:
    """Return one counter's share of another; 0 where nothing is counted."""
    divisor = f"clamp_min({per_second(whole, *by, window=window)}, {_LEAST_RATE})"
    return f"{per_second(part, *by, window=window)} / {divisor}"


def share(part: str, whole: str, *by: str) -> str:
    """Return what each of several counters is of the whole; 0 where nothing is counted."""
    return f"{per_second(part, *by)} / scalar(clamp_min({per_second(whole)}, {_LEAST_RATE}))"


def mean(metric: str, selector: str) -> str:
    """Return the mean of a histogram; 0 where nothing is observed."""
    return ratio(f"{metric}_sum{{{selector}}}", f"{metric}_count{{{selector}}}")


def quantile(part: float, metric: str, selector: str, *by: str, window: str = WINDOW) -> str:
    """Return a quantile of a histogram; NaN where nothing is observed."""
    buckets = per_second(f"{metric}_bucket{{{selector}}}", "le", *by, window=window)
    return f"histogram_quantile({part}, {buckets})"


def quantiles(metric: str, selector: str) -> tuple[Query, ...]:
    """Return the median and the two that tell of the slow ones."""
    return tuple(
        Query(quantile(part, metric, selector), name)
        for part, name in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
    )


def buckets(metric: str, selector: str) -> Query:
    """Return the rows of a heat map."""
    return Query(rise(f"{metric}_bucket{{{selector}}}", "le"), "{{le}}")


def or_zero(expr: str) -> str:
    """Return the expression, or 0 where there is no such series."""
    return f"{expr} or on () vector(0)"


def told(expr: str) -> str:
    """Return the expression without NaN, so that a stat says that there is nothing."""
    return f"{expr} >= 0"


def _by(labels: tuple[str, ...]) -> str:
    return f" by ({', '.join(labels)})" if labels else ""
