"""The services that are announced: whether a worker is ready, and who is not used and why.

Owns the advice for each reason that the registry knows. Asks nobody.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from services.cli.doctor.check import Check, fail, ok, warn

_ADVICE = (
    (
        "internal token",
        "give it the fleet's LLMZOO_INTERNAL_TOKEN and restart it",
    ),
    (
        "allowed networks",
        "add its network to the controller's LLMZOO_ALLOWED_NETWORKS, or set LLMZOO_ADVERTISE there",
    ),
    (
        "public host name",
        "set LLMZOO_ADVERTISE there to its IP address, http://10.0.0.7:8010",
    ),
    (
        "no http URL",
        "set LLMZOO_ADVERTISE there to a base URL, http://10.0.0.7:8010",
    ),
    (
        "malformed",
        "update it to the version of the controller",
    ),
)


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker as it is announced; `state` and `detail` are for a person."""

    name: str
    state: str
    detail: str
    ready: bool


def ready_workers(workers: Sequence[Worker]) -> Check:
    """Find whether one of `workers` is ready."""
    ready = sum(worker.ready for worker in workers)
    if ready:
        return ok("workers", f"{ready} of {len(workers)} ready")
    if not workers:
        fix = "start one: `llmzoo up`, or `docker compose up -d worker`"
        return fail("workers", "there is no worker, so that no model is served", fix)
    first = workers[0]
    told = f"none of {len(workers)} is ready: {first.name} is {first.state}"
    told += f" ({first.detail})" if first.detail else ""
    fix = "wait while it loads, else look into its log (`docker compose logs worker`)"
    return warn("workers", told, fix)


def refused(name: str, reasons: Mapping[str, str]) -> Iterator[Check]:
    """Yield a finding a service that is refused, with its reason."""
    for service, reason in sorted(reasons.items()):
        advice = (fix for word, fix in _ADVICE if word in reason)
        fix = next(advice, "look into its log, and restart it")
        yield fail(name, f"{service} is refused: {reason}", fix)
