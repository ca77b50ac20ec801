"""Every Redis name that LLM Zoo uses is built here."""

from __future__ import annotations

from typing import Literal

SERVICES = "llmzoo:services"
"""Set of the ids of all announced services."""

CHANGES = "llmzoo:changes"
"""Channel on which a service's id is published when its state or models change."""


def service(service_id: str) -> str:
    """Name the key that holds a service's signed record; it lives as long as the TTL."""
    return f"llmzoo:service:{service_id}"


def refusal(service_id: str) -> str:
    """Name the key in which a controller says why it does not use a service."""
    return f"llmzoo:refusal:{service_id}"


def evaluation(eval_id: str) -> str:
    """Name the key of one evaluation's spec."""
    return f"llmzoo:eval:{eval_id}"


def evaluation_run(run_id: str) -> str:
    """Name the key of one run of an evaluation."""
    return f"llmzoo:eval-run:{run_id}"


EVALUATIONS = "llmzoo:evals"
"""Sorted set of the ids of all evaluations, by time of creation."""

EVALUATIONS_SINCE = "llmzoo:evals-since"
"""When the first evaluator found no evaluation data, in Unix seconds: older ones are lost."""

OPEN_RUNS = "llmzoo:eval-runs-open"
"""Sorted set of the ids of the runs that are queued or running, by time of creation."""


def evaluation_runs(eval_id: str) -> str:
    """Name the sorted set of the ids of an evaluation's runs, by time of creation."""
    return f"llmzoo:eval-runs:{eval_id}"


def evaluation_run_part(run_id: str, part: Literal["answers", "results", "scores"]) -> str:
    """Name the hash that holds one part of what a run brought, by the item's number."""
    return f"llmzoo:eval-run-{part}:{run_id}"


def evaluation_run_lease(run_id: str) -> str:
    """Name the key that says which evaluator works on a run; it expires with its holder."""
    return f"llmzoo:eval-run-lease:{run_id}"
