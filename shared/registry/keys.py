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


PROBE = "llmzoo:probe"
"""Key that is written for a moment to see whether Redis takes writes."""


def gpu_lease(gpu: str, place: int) -> str:
    """Name the key that says which worker has one of a GPU's places; it expires with it."""
    return f"llmzoo:gpu-lease:{gpu}#{place}"


def evaluation(eval_id: str) -> str:
    """Name the hash of one eval: what lists tell of it, its questions, its content's hash."""
    return f"llmzoo:eval:{eval_id}"


def evaluation_content(digest: str) -> str:
    """Name the key that holds the id of the eval with this content."""
    return f"llmzoo:eval-content:{digest}"


EVALUATIONS = "llmzoo:evals"
"""Sorted set of the ids of all evaluations, by time of creation."""

EVALUATIONS_SINCE = "llmzoo:evals-since"
"""When the first evaluator found no evaluation data, in Unix seconds: older ones are lost."""

OPEN_RUNS = "llmzoo:eval-runs-open"
"""Sorted set of the ids of the runs that are queued or running, by time of creation."""


def evaluation_runs(eval_id: str) -> str:
    """Name the sorted set of the ids of an evaluation's runs, by time of creation."""
    return f"llmzoo:eval-runs:{eval_id}"


RunPart = Literal[
    "spec",
    "answer-states",
    "review-states",
    "answers",
    "results",
    "overrides",
    "events",
    "work",
    "alone",
    "reserved",
    "salts",
]


def evaluation_run(run_id: str) -> str:
    """Name the hash of one run: its fixed facts, its status and its counters."""
    return f"llmzoo:eval-run:{run_id}"


def evaluation_run_part(run_id: str, part: RunPart) -> str:
    """Name the key of one part of a run; the run's scripts build it in the same way."""
    return f"{evaluation_run(run_id)}:{part}"


def evaluation_run_content(digest: str) -> str:
    """Name the key that holds the id of the run with this content."""
    return f"llmzoo:eval-run-content:{digest}"


def evaluator_lease(consumer: str) -> str:
    """Name the key that says that an evaluator's process lives; it expires with it."""
    return f"llmzoo:evaluator-lease:{consumer}"


EVALUATION_POSTS = "llmzoo:eval-posts"
"""Sorted set of the slots of POSTs with an Idempotency-Key, by time."""


def evaluation_post(slot: str) -> str:
    """Name the hash of one POST with an Idempotency-Key, and of its answer once there is one."""
    return f"llmzoo:eval-post:{slot}"


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


def call_intent(slot: str) -> str:
    """Name the key that counts how often a call was begun whose end nobody knows."""
    return f"llmzoo:call-intent:{slot}"


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
