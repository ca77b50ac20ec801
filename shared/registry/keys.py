"""Every Redis name that LLM Zoo uses is built here."""

from __future__ import annotations

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
