"""Working on runs: who holds one, what is done of it, and writing what was done.

A run is held under a lease that is renewed; whoever lost it can write nothing any more, so two
evaluators never both work on one run for longer than it takes to notice. Owns the lease and
the commits. Asks no model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from services.evaluator.jobs.connection import reaching_redis
from services.evaluator.jobs.records import RunRecord, StoredAnswer, StoredResult, counters
from services.evaluator.jobs.scripts import CLAIM, COMMIT, FINISH, RELEASE, RENEW
from services.evaluator.jobs.store import KEPT_SECONDS, now
from shared.protocol.evals import Evaluation, RunStatus
from shared.registry import keys

LEASE_SECONDS = 5.0
HELD = "held"


class RunNotHeld(Exception):
    """The run was cancelled, taken over or deleted; the text is the word for it."""


@dataclass(frozen=True, slots=True)
class Work:
    """A run with what is left of it."""

    run: RunRecord
    evaluation: Evaluation
    left: tuple[int, ...]
    """The places of the items without a result."""
    answers: Mapping[int, StoredAnswer]
    """The answers that some of these have already."""


class Claims:
    """What one evaluator does with runs; every call raises StoreUnreachable without Redis."""

    def __init__(self, redis: Any, owner: str) -> None:
        """Use `redis`, an asyncio client that answers in bytes, in the name of `owner`."""
        self._redis = redis
        self._owner = owner

    async def open_runs(self) -> list[tuple[str, str]]:
        """Return id and status of every run that has not ended, oldest first."""
        with reaching_redis():
            ids = [name.decode() for name in await self._redis.zrange(keys.OPEN_RUNS, 0, -1)]
            async with self._redis.pipeline(transaction=False) as batch:
                for run_id in ids:
                    batch.hget(keys.evaluation_run(run_id), "status")
                statuses: list[bytes | None] = await batch.execute()
        return [
            (run_id, (status or b"").decode()) for run_id, status in zip(ids, statuses, strict=True)
        ]

    async def claim(self, run_id: str) -> bool:
        """Take a run; return whether it is held now."""
        word = await self._script(CLAIM, run_id, [keys.OPEN_RUNS], run_id, int(now()))
        return word == HELD

    async def renew(self, run_id: str) -> str:
        """Renew the lease; return `held`, or why the run is not."""
        return await self._script(RENEW, run_id, [])

    async def release(self, run_id: str) -> None:
        """Put a run back into the queue."""
        await self._script(RELEASE, run_id, [])

    async def work(self, run_id: str) -> Work:
        """Return what is to be done. Raises RunNotHeld, having ended it, when it expired."""
        with reaching_redis():
            stored = await self._redis.hget(keys.evaluation_run(run_id), "record")
            record = RunRecord.model_validate_json(stored) if stored else None
            told = await self._redis.get(keys.evaluation(record.eval_id)) if record else None
            results = await self._redis.hkeys(keys.evaluation_run_part(run_id, "results"))
        if record is None or told is None:
            await self.finish(run_id, RunStatus.FAILED, "The eval or the run has expired.")
            raise RunNotHeld("gone")
        done = {int(place) for place in results}
        left = tuple(place for place in range(record.total) if place not in done)
        return Work(
            run=record,
            evaluation=Evaluation.model_validate_json(told),
            left=left,
            answers=await self._answers(run_id, left),
        )

    async def _answers(self, run_id: str, places: tuple[int, ...]) -> dict[int, StoredAnswer]:
        if not places:
            return {}
        with reaching_redis():
            name = keys.evaluation_run_part(run_id, "answers")
            found: list[bytes | None] = await self._redis.hmget(name, places)
        return {
            place: StoredAnswer.model_validate_json(text)
            for place, text in zip(places, found, strict=True)
            if text is not None
        }

    async def replies(self, run_id: str) -> int:
        """Return how many items a judge has replied to, readably or not."""
        with reaching_redis():
            counts = await self._redis.hmget(keys.evaluation_run(run_id), ["judged", "undecoded"])
        return sum(int(count or 0) for count in counts)

    async def commit_answer(self, run: RunRecord, place: int, answer: StoredAnswer) -> None:
        """Store an answer, once. Raises RunNotHeld."""
        added = {"answered": 1, **counters("answer", answer.usage)}
        await self._commit(run, "answers", place, answer.model_dump_json(), added=added)

    async def commit_result(self, run: RunRecord, place: int, result: StoredResult) -> None:
        """Store how an item ended, once. Raises RunNotHeld."""
        added = {result.status.value: 1, **counters("judge", result.usage)}
        score = "" if result.score is None else repr(result.score)
        text = result.model_dump_json()
        await self._commit(run, "results", place, text, added=added, score=score)

    async def finish(self, run_id: str, status: RunStatus, error: str = "") -> None:
        """End a run. Raises RunNotHeld."""
        word = await self._script(
            FINISH, run_id, [keys.OPEN_RUNS], run_id, int(now()), status.value, error
        )
        # The status itself: it was written before, and the reply was lost on its way.
        if word not in {HELD, status.value}:
            raise RunNotHeld(word)

    async def _commit(
        self,
        run: RunRecord,
        part: Literal["answers", "results"],
        place: int,
        text: str,
        *,
        added: dict[str, int],
        score: str = "",
    ) -> None:
        kept = [
            keys.evaluation_run_part(run.id, part),
            keys.evaluation_run_part(run.id, "scores"),
            keys.evaluation_run_part(run.id, "answers"),
            keys.evaluation(run.eval_id),
            keys.evaluation_runs(run.eval_id),
        ]
        counts = [part for pair in added.items() for part in pair]
        word = await self._script(COMMIT, run.id, kept, place, text, score, KEPT_SECONDS, *counts)
        if word != HELD:
            raise RunNotHeld(word)

    async def _script(self, script: str, run_id: str, more: list[str], *values: object) -> str:
        names = [keys.evaluation_run(run_id), keys.evaluation_run_lease(run_id), *more]
        lease_ms = int(LEASE_SECONDS * 1000)
        with reaching_redis():
            word: bytes = await self._redis.eval(
                script, len(names), *names, self._owner, lease_ms, *values
            )
        return word.decode()
