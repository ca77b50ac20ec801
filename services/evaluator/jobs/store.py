"""Evals and runs as the API reads and writes them. Truth is in Redis; nothing is kept here.

Owns creating, listing, reading and cancelling, how long things are kept and how many. Working
on a run is in `claims`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

from services.evaluator.jobs.connection import reaching_redis
from services.evaluator.jobs.ids import Ids
from services.evaluator.jobs.records import RunRecord, item_of, run_of
from services.evaluator.jobs.scripts import CANCEL
from shared.errors import Gone, InvalidRequest, LLMZooError, NotFound, Overloaded
from shared.protocol.evals import EvalSpec, Evaluation, OutputItem, Run, RunSpec, RunStatus
from shared.registry import keys

KEPT_SECONDS = 7 * 24 * 3600
LOST_WHILE_RUNNING = "Redis lost this run's answers and verdicts while it ran; run it again."
MAX_EVALS = 1_000
MAX_RUNS_OF_EVAL = 100
MAX_OPEN_RUNS = 64
_FULL_RETRY_AFTER = 30.0

Told = TypeVar("Told")
Page = tuple[list[Told], bool]
"""One page, and whether more follow."""


class EvalStore:
    """Reads and writes evals and runs; every call raises StoreUnreachable without Redis."""

    def __init__(self, redis: Any, ids: Ids) -> None:
        """Use `redis`, an asyncio client that answers in bytes."""
        self._redis = redis
        self._ids = ids

    async def create_eval(self, spec: EvalSpec) -> Evaluation:
        """Store an eval. Raises Overloaded when too many are kept."""
        created = now()
        evaluation = Evaluation(
            id=self._ids.make("eval"),
            created_at=int(created),
            name=spec.name,
            question_count=len(spec.questions),
            questions=spec.questions,
            dimensions=list(spec.dimensions),
            mode=spec.mode,
            judge=spec.judge,
        )
        with reaching_redis():
            await self._check_room(keys.EVALUATIONS, keys.evaluation, MAX_EVALS, "evals are kept")
            async with self._redis.pipeline(transaction=True) as batch:
                name = keys.evaluation(evaluation.id)
                batch.set(name, evaluation.model_dump_json(), ex=KEPT_SECONDS)
                batch.zadd(keys.EVALUATIONS, {evaluation.id: created})
                await batch.execute()
        return evaluation

    async def get_eval(self, eval_id: str) -> Evaluation:
        """Return an eval with its questions. Raises NotFound; Gone when its data are lost."""
        if not self._ids.made("eval", eval_id):
            raise NotFound(f"There is no eval {eval_id!r}.", param="eval_id")
        with reaching_redis():
            stored = await self._redis.get(keys.evaluation(eval_id))
        if stored is None:
            raise _lost("eval", eval_id)
        return Evaluation.model_validate_json(stored)

    async def list_evals(self, after: str | None, limit: int) -> Page[Evaluation]:
        """Return a page of evals, newest first, without their questions."""

        async def read(ids: list[str]) -> list[Evaluation | None]:
            stored = await self._redis.mget([keys.evaluation(eval_id) for eval_id in ids])
            found = [Evaluation.model_validate_json(text) if text else None for text in stored]
            return [told and told.model_copy(update={"questions": []}) for told in found]

        return await self._page(keys.EVALUATIONS, after, limit, read)

    async def create_run(self, evaluation: Evaluation, spec: RunSpec) -> Run:
        """Store a run as queued. Raises Overloaded when too many are open or kept."""
        created = now()
        record = RunRecord(
            id=self._ids.make("evalrun"),
            eval_id=evaluation.id,
            created_at=int(created),
            total=evaluation.question_count,
            spec=spec,
        )
        fields = {"record": record.model_dump_json(), "status": RunStatus.QUEUED.value}
        run_key, runs = keys.evaluation_run(record.id), keys.evaluation_runs(evaluation.id)
        with reaching_redis():
            await self._check_room(
                keys.OPEN_RUNS, keys.evaluation_run, MAX_OPEN_RUNS, "runs are waiting"
            )
            await self._check_room(
                runs, keys.evaluation_run, MAX_RUNS_OF_EVAL, "runs of this eval are kept"
            )
            async with self._redis.pipeline(transaction=True) as batch:
                batch.hset(run_key, mapping=fields)
                batch.zadd(runs, {record.id: created})
                batch.zadd(keys.OPEN_RUNS, {record.id: created})
                for name in (run_key, runs, keys.evaluation(evaluation.id)):
                    batch.expire(name, KEPT_SECONDS)
                await batch.execute()
        return run_of({name.encode(): text.encode() for name, text in fields.items()}, [])

    async def get_run(self, eval_id: str, run_id: str) -> Run:
        """Return a run.

        Raises:
            NotFound: there was none, or it is a run of another eval. Gone: its data are lost.
        """
        none = NotFound(f"The eval {eval_id!r} has no run {run_id!r}.", param="run_id")
        if not (self._ids.made("eval", eval_id) and self._ids.made("evalrun", run_id)):
            raise none
        with reaching_redis():
            [run] = await self._read_runs([run_id])
        if run is None:
            raise _lost("run", run_id)
        if run.eval_id != eval_id:
            raise none
        return run

    async def note_lost(self, evaluation: Evaluation, record: RunRecord) -> None:
        """Write a run back that Redis lost while it was executed: as failed, with the reason."""
        fields = {
            "record": record.model_dump_json(),
            "status": RunStatus.FAILED.value,
            "finished_at": int(now()),
            "error": LOST_WHILE_RUNNING,
        }
        name, runs = keys.evaluation(evaluation.id), keys.evaluation_runs(evaluation.id)
        run_key = keys.evaluation_run(record.id)
        with reaching_redis():
            async with self._redis.pipeline(transaction=True) as batch:
                batch.set(name, evaluation.model_dump_json(), ex=KEPT_SECONDS)
                batch.zadd(keys.EVALUATIONS, {evaluation.id: evaluation.created_at})
                batch.hset(run_key, mapping=fields)
                batch.zadd(runs, {record.id: record.created_at})
                for kept in (run_key, runs):
                    batch.expire(kept, KEPT_SECONDS)
                await batch.execute()

    async def kept_since(self) -> int:
        """Return since when things are kept, in Unix seconds: what is older has been lost."""
        with reaching_redis():
            await self._redis.set(keys.EVALUATIONS_SINCE, int(now()), nx=True)
            return int(await self._redis.get(keys.EVALUATIONS_SINCE) or now())

    async def list_runs(self, evaluation: Evaluation, after: str | None, limit: int) -> Page[Run]:
        """Return a page of an eval's runs, newest first."""
        name = keys.evaluation_runs(evaluation.id)
        return await self._page(name, after, limit, self._read_runs)

    async def output_items(
        self, evaluation: Evaluation, run: Run, after: str | None, limit: int
    ) -> Page[OutputItem]:
        """Return a page of a run's items, in the order of the questions."""
        start = 0
        if after is not None:
            number = after.removeprefix("item_")
            if not number.isascii() or not number.isdigit() or number == after:
                raise InvalidRequest(f"'after' is no item of the run {run.id!r}.", param="after")
            start = int(number[:6]) + 1
        places = range(start, min(start + limit, run.progress.total))
        if not places:
            return [], False
        with reaching_redis():
            async with self._redis.pipeline(transaction=True) as batch:
                batch.hmget(keys.evaluation_run_part(run.id, "answers"), places)
                batch.hmget(keys.evaluation_run_part(run.id, "results"), places)
                answers, results = await batch.execute()
        found = zip(places, answers, results, strict=True)
        items = [item_of(evaluation, run, *parts) for parts in found]
        return items, places.stop < run.progress.total

    async def cancel(self, run: Run) -> Run:
        """End an open run as canceled; one that has ended stays as it is."""
        names = [
            keys.evaluation_run(run.id),
            keys.evaluation_run_lease(run.id),
            keys.OPEN_RUNS,
        ]
        with reaching_redis():
            await self._redis.eval(CANCEL, len(names), *names, run.id, int(now()))
        return await self.get_run(run.eval_id, run.id)

    async def _read_runs(self, ids: list[str]) -> list[Run | None]:
        async with self._redis.pipeline(transaction=True) as batch:
            for run_id in ids:
                batch.hgetall(keys.evaluation_run(run_id))
                batch.hvals(keys.evaluation_run_part(run_id, "scores"))
            found = await batch.execute()
        pairs = zip(found[::2], found[1::2], strict=True)
        return [run_of(fields, scores) if fields else None for fields, scores in pairs]

    async def _page(
        self,
        index: str,
        after: str | None,
        limit: int,
        read: Callable[[list[str]], Awaitable[list[Told | None]]],
    ) -> Page[Told]:
        with reaching_redis():
            ids = [name.decode() for name in await self._redis.zrevrange(index, 0, -1)]
            if after is not None:
                if after not in ids:
                    raise InvalidRequest("'after' is no id of this list.", param="after")
                ids = ids[ids.index(after) + 1 :]
            page = ids[:limit]
            found = await read(page) if page else []
            gone = [name for name, told in zip(page, found, strict=True) if told is None]
            if gone:
                await self._redis.zrem(index, *gone)
        return [told for told in found if told is not None], len(ids) > limit

    async def _check_room(
        self, index: str, key_of: Callable[[str], str], most: int, what: str
    ) -> None:
        """Raise Overloaded when `index` holds `most` things that still exist."""
        if await self._redis.zcard(index) < most:
            return
        ids = [name.decode() for name in await self._redis.zrange(index, 0, -1)]
        async with self._redis.pipeline(transaction=False) as batch:
            for name in ids:
                batch.exists(key_of(name))
            exist = await batch.execute()
        gone = [name for name, there in zip(ids, exist, strict=True) if not there]
        if gone:
            await self._redis.zrem(index, *gone)
        if len(ids) - len(gone) >= most:
            msg = f"{most} {what} already; try again later."
            raise Overloaded(msg, retry_after=_FULL_RETRY_AFTER)


def _lost(what: str, its_id: str) -> LLMZooError:
    return Gone(
        f"The {what} {its_id!r} was here, and its data are gone: Redis has lost them, or they were "
        f"older than {KEPT_SECONDS // 86_400} days.",
        param=f"{what}_id",
        code=f"{what}_lost",
    )


def now() -> float:
    """Return the wall clock in Unix seconds: people compare it with their own."""
    return datetime.now(UTC).timestamp()
