"""What a Redis-compatible server's own figures mean for a fleet.

Owns the judgement. Asks nobody.
"""

from __future__ import annotations

from collections.abc import Iterator

from services.cli.doctor.check import Check, fail, ok, warn
from services.cli.doctor.clock import clock
from services.cli.doctor.fleet import Worker, ready_workers, refused
from services.cli.workers import state_text
from shared.protocol.workers import State
from shared.registry.inspection import RedisReport

_MB = 1e6
_NEARLY_FULL = 0.8
_KEEPS = "noeviction"
_TOKEN = "internal token"  # noqa: S105 - the name of a finding


def judged(report: RedisReport, *, has_token: bool) -> Iterator[Check]:
    """Yield what is found in a server's report."""
    yield _writes(report)
    yield _memory(report)
    yield clock("Redis", report.clock_ahead)
    yield from _records(report, has_token=has_token)


def _writes(report: RedisReport) -> Check:
    name, fault = "Redis writes", report.write_fault
    if not fault:
        return ok(name, "taken")
    if fault.startswith("MISCONF"):
        told = "stopped, since its last snapshot could not be written (MISCONF)"
        return fail(name, told, "free space on its disk and let it write there; its log tells why")
    if fault.startswith("READONLY"):
        told = "refused: the server is a replica"
        return fail(
            name, told, "set LLMZOO_REDIS_URL to the primary, or `redis-cli replicaof no one`"
        )
    if fault.startswith("OOM"):
        fix = "raise maxmemory (`redis-cli config set maxmemory 1gb`), or LLMZOO_CALL_STORE_BYTES less"
        return fail(name, "refused: its memory is full (OOM)", fix)
    fix = "give its user `~llmzoo:* &llmzoo:* +@all`, or look into its log"
    return fail(name, f"refused: {fault}", fix)


def _memory(report: RedisReport) -> Check:
    name = "Redis memory"
    text = f"{report.memory / _MB:.0f} MB"
    if report.memory_limit:
        text += f" of {report.memory_limit / _MB:.0f} MB"
    if report.policy and report.policy != _KEEPS:
        told = (
            f"{text}; its policy {report.policy} drops keys when it is full, API keys and runs too"
        )
        fix = f"redis-cli config set maxmemory-policy {_KEEPS}, and the same in its configuration"
        return warn(name, told, fix)
    if report.memory_limit and report.memory > _NEARLY_FULL * report.memory_limit:
        fix = "raise maxmemory, or lower LLMZOO_CALL_STORE_BYTES"
        return warn(name, f"{text}: nearly full, and then it takes no writes", fix)
    return ok(name, text)


def _records(report: RedisReport, *, has_token: bool) -> Iterator[Check]:
    """Yield what is found of the services that are announced there."""
    believed, doubted = report.snapshot.records, report.snapshot.refused
    unsigned = [name for name, why in doubted.items() if _TOKEN in why]
    if unsigned and not believed and not has_token:
        told = (
            f"LLMZOO_INTERNAL_TOKEN is not set here, so {len(unsigned)} records cannot be checked"
        )
        yield warn(_TOKEN, told, "set it as the services have it")
        doubted = {name: why for name, why in doubted.items() if name not in unsigned}
    elif unsigned and not believed:
        told = f"LLMZOO_INTERNAL_TOKEN here is not that of the {len(unsigned)} services announced"
        yield fail(_TOKEN, told, "give all services the same, and restart those that have another")
        doubted = {name: why for name, why in doubted.items() if name not in unsigned}
    yield from refused("registry", {**report.refusals, **doubted})
    if not believed:
        return
    yield ok("registry", ", ".join(sorted(f"{each.kind} {each.state}" for each in believed)))
    workers = [
        Worker(
            each.id,
            state_text(each.state, each.progress),
            each.detail,
            ready=each.state is State.READY,
        )
        for each in believed
        if each.kind == "worker"
    ]
    if workers:
        yield ready_workers(workers)
