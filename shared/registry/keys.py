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


API_KEYS = "llmzoo:api-keys"
"""Hash of all API keys' records, by the keys' ids; a revoked one stays for a while."""

API_KEYS_VERSION = "llmzoo:api-keys-version"
"""A random token that changes with every change of an API key."""


def rate_limit(key_id: str, kind: Literal["requests", "tokens"]) -> str:
    """Name the hash that holds what is left of a key's minute; it expires when it is full."""
    return f"llmzoo:rate-limit:{kind}:{key_id}"


def call(slot: str) -> str:
    """Name the key of a stored call's record."""
    return f"llmzoo:call:{slot}"


def call_claim(slot: str) -> str:
    """Name the key that says which controller makes a call; it expires with its holder."""
    return f"llmzoo:call-claim:{slot}"


CALLS = "llmzoo:calls"
"""Sorted set of the slots of all stored calls, by time."""

CALLS_IN_BLOBS = "llmzoo:calls-in-blobs"
"""Sorted set of the slots of those whose body is in a blob, by time."""

CALL_SIZES = "llmzoo:call-sizes"
"""Hash of what each stored call takes, by slot: bytes in Redis, bytes and digest of its blob."""

CALL_TOTALS = "llmzoo:call-totals"
"""Hash of the sums of these: `records` and `blobs`, in bytes."""

CALL_STORE_ID = "llmzoo:call-store-id"
"""Id of this Redis's call store, made once; the blob folders of several stores keep apart by it."""
