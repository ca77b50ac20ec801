"""One evaluator's hold on the work of all runs: it lives, looks, takes, ends and gives back.

Owns the consumer's name and lease, and that what is sent together takes one round trip, each
script a transaction of its own. Decides nothing; a script that is sent again does nothing twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import NoScriptError

from services.evaluator.jobs.connection import Script, StoreUnreachable, reaching_redis
from services.evaluator.jobs.ends import SCRIPTS, End
from services.evaluator.jobs.scripts.life import FAIL
from services.evaluator.jobs.scripts.looking import KEEP, LOOK, RELEASE
from services.evaluator.jobs.scripts.work import MINE, TAKE
from services.evaluator.jobs.work import Unit, Work, units_of
from shared.protocol.evals.run import RunStatus
from shared.registry import keys

LEASE_SECONDS = 5.0
TAKEN = "taken"

_TAKE, _MINE, _RELEASE = Script(TAKE), Script(MINE), Script(RELEASE)
_LOOK, _KEEP, _FAIL = Script(LOOK), Script(KEEP), Script(FAIL)

_Command = tuple[Script, Sequence[str], Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Seen:
    """An open run as a look sees it."""

    run_id: str
    status: RunStatus
    entries: int
    """In its stream, whoever works on them."""
    suspects: int
    """Waiting to be run alone."""
    still_seconds: float
    """Since its last event."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What one look saw."""

    reclaimed: int
    runs: tuple[Seen, ...]


@dataclass(frozen=True, slots=True)
class Take:
    """A wish for units of one run."""

    work: Work
    most: int
    stream: str = "work"


@dataclass(frozen=True, slots=True)
class Taken:
    """What a wish brought; `word` is `taken`, `busy`, or what became of the run."""

    word: str
    units: tuple[Unit, ...] = ()


class Queue:
    """Every call raises StoreUnreachable without Redis."""

    def __init__(self, redis: Any, consumer: str, lease: float = LEASE_SECONDS) -> None:
        """Work as `consumer`, whose lease is held for `lease` seconds after each look."""
        self.redis = redis
        self._consumer = consumer
        self._lease_ms = int(lease * 1000)

    async def look(self) -> Looked:
        """Renew the lease, take back what dead processes left, return the open runs."""
        names = [keys.evaluator_lease(self._consumer), keys.OPEN_RUNS]
        prefixes = (keys.evaluation_run(""), keys.evaluator_lease(""))
        found = await _LOOK.run(self.redis, names, self._consumer, self._lease_ms, *prefixes)
        _, reclaimed, *flat = found
        runs = (flat[start : start + 5] for start in range(0, len(flat), 5))
        return Looked(
            reclaimed,
            tuple(
                Seen(run_id.decode(), RunStatus(status.decode()), entries, suspects, still / 1000)
                for run_id, status, entries, suspects, still in runs
            ),
        )

    async def exchange(
        self, ends: Sequence[tuple[Work, End]], takes: Sequence[Take]
    ) -> tuple[list[int], list[Taken]]:
        """End units and take others; return how many each end brought into the stream."""
        commands: list[_Command] = [(end.script, work.names, end.values) for work, end in ends]
        commands += [
            (_TAKE, take.work.names, (self._consumer, take.most, take.stream)) for take in takes
        ]
        replies = await self._send(commands)
        added = [reply[1] if len(reply) > 1 else 0 for reply in replies[: len(ends)]]
        pairs = zip(takes, replies[len(ends) :], strict=True)
        return added, [_taken(reply, take.stream) for take, reply in pairs]

    async def mine(self, work: Work) -> list[Unit]:
        """Return all of a run that is this process's, also what it does not know of."""
        reply = await _MINE.run(self.redis, work.names, self._consumer)
        return units_of(reply, "work") if reply[0].decode() == TAKEN else []

    async def statuses(self, run_ids: Sequence[str]) -> list[str | None]:
        """Return the status of each run; None: Redis knows nothing of it."""
        with reaching_redis():
            async with self.redis.pipeline(transaction=False) as batch:
                for run_id in run_ids:
                    batch.hget(keys.evaluation_run(run_id), "status")
                found = await batch.execute()
        return [status and status.decode() for status in found]

    async def keep(self, works: Iterable[Work]) -> None:
        """Keep runs from expiring while they are open."""
        await self._send([(_KEEP, work.names, ()) for work in works])

    async def fail(self, names: Sequence[str], error: str) -> None:
        """End a run that cannot be executed."""
        await _FAIL.run(self.redis, names, error)

    async def release(self, works: Iterable[Work]) -> None:
        """Give everything back and let the lease go: this process ends in good order."""
        await self._send([(_RELEASE, work.names, (self._consumer,)) for work in works])
        with reaching_redis():
            await self.redis.delete(keys.evaluator_lease(self._consumer))

    async def _send(self, commands: Sequence[_Command]) -> list[Any]:
        replies = await self._try(commands)
        unknown = [place for place, each in enumerate(replies) if isinstance(each, NoScriptError)]
        if unknown:
            with reaching_redis():
                for script in (*SCRIPTS, _TAKE, _RELEASE, _KEEP):
                    await self.redis.script_load(script.text)
            again = await self._try([commands[place] for place in unknown])
            for place, reply in zip(unknown, again, strict=True):
                replies[place] = reply
        for reply in replies:
            if isinstance(reply, Exception):
                msg = f"Redis refuses a script ({reply})."
                raise StoreUnreachable(msg) from reply
        return replies

    async def _try(self, commands: Sequence[_Command]) -> list[Any]:
        if not commands:
            return []
        with reaching_redis():
            async with self.redis.pipeline(transaction=False) as batch:
                for script, names, values in commands:
                    script.add(batch, names, *values)
                return await batch.execute(raise_on_error=False)


def _taken(reply: list[Any], stream: str) -> Taken:
    word = reply[0].decode()
    return Taken(word, tuple(units_of(reply, stream)) if word == TAKEN else ())
