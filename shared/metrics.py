"""Metric buckets that more than one service uses, in seconds unless told otherwise.

Owns numbers only; each service's `metrics.py` owns its metrics.
"""

from __future__ import annotations

TTFT_BUCKETS = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5,
    0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0,
)  # fmt: skip
"""Time to first token: vLLM's buckets."""

TOKEN_BUCKETS = (
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5,
)  # fmt: skip
"""Time between tokens: OpenTelemetry's GenAI buckets and one finer."""

LATENCY_BUCKETS = (
    0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0,
    30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0,
)  # fmt: skip
"""Whole requests: vLLM's buckets and three finer."""

LENGTH_BUCKETS = (
    1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000,
)  # fmt: skip
"""Tokens of a prompt or an answer: vLLM's buckets for a context of 100,000."""

MOST_MODELS = 200
OTHER = "other"
"""Label of the models beyond so many, whose names come from whoever may announce a worker, and of
whatever else a stranger may name."""
