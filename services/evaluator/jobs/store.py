"""Evals and runs as the API reads and writes them. Truth is in Redis; nothing is kept here.

Owns a run's life from outside: making, finding, cancelling, resuming, deleting it. How evals are
kept is in `evals`, items in `items`; working on a run is in `queue`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, Literal

from services.evaluator.jobs.connection import Script, reaching_redis
from services.evaluator.jobs.creation import MAX_OPEN_RUNS, create_run, find_run, names_of
from services.evaluator.jobs.evals import FULL_RETRY_AFTER, Evals, lost
from services.evaluator.jobs.events import Events
from services.evaluator.jobs.ids import Ids
from services.evaluator.jobs.items import ItemReader, number_of
from services.evaluator.jobs.material import RunMaterial
from services.evaluator.jobs.overrides import override
from services.evaluator.jobs.pages import Order, Page, page_of
from services.evaluator.jobs.plan import Plan
from services.evaluator.jobs.reading import read_material
from services.evaluator.jobs.runs import deadline_ms, limit_fields, run_of
from services.evaluator.jobs.scripts.life import CANCEL, DELETE_RUN, RESUME
from services.evaluator.jobs.states import FILTERS
from services.evaluator.jobs.stored_specs import run_spec_of, spec_of
from shared.errors import Conflict, InvalidRequest, NotFound, Overloaded
from shared.protocol.evals.item import OutputItem, OverrideRequest
from shared.protocol.evals.results import RunEvent
from shared.protocol.evals.run import Evaluation, Limits, Run, RunSpec, RunStatus
from shared.protocol.evals.spec import EvalSpec
from shared.registry import keys

_SLICE = 500

Only = Literal["errored", "undecoded", "all_missing"]

_CANCEL, _RESUME, _DELETE = Script(CANCEL), Script(RESUME), Script(DELETE_RUN)


class EvalStore:
    """Reads and writes evals and runs; every call raises StoreUnreachable without Redis."""

    def __init__(self, redis: Any, ids: Ids, following: Any = None) -> None:
        """Use `redis`, an asyncio client that answers in bytes.

        Args:
            redis: for everything but waiting.
            ids: makes ids and knows them again.
            following: a client that bears long silence, for those who follow events.
        """
        self._redis = redis
        self._ids = ids
        self._evals = Evals(redis, ids)
        self._events = Events(redis, following or redis)

    async def create_eval(self, spec: EvalSpec, force_new: bool = False) -> tuple[Evaluation, bool]:
        """Return the eval with this content, and whether it is a new one.

        Raises:
            Overloaded: too many are kept.
        """
        return await self._evals.create(spec, force_new=force_new)

    async def get_eval(self, eval_id: str) -> Evaluation:
        """Return an eval with its questions. Raises NotFound; Gone when lost or deleted."""
        return await self._evals.get(eval_id)

    async def list_evals(
        self, after: str | None, limit: int, order: Order = "desc"
    ) -> Page[Evaluation]:
        """Return a page of evals, by the time of their making, without their questions."""
        return await self._evals.list(after, limit, order)

    async def update_eval(
        self, eval_id: str, name: str | None, metadata: dict[str, str] | None
    ) -> Evaluation:
        """Give an eval another name or other metadata. Raises as `get_eval`."""
        return await self._evals.update(eval_id, name, metadata)

    async def delete_eval(self, eval_id: str) -> None:
        """Delete an eval and its runs. Raises Conflict while one is open; as `get_eval`."""
        await self._evals.get(eval_id)
        index = keys.evaluation_runs(eval_id)
        with reaching_redis():
            ids = [name.decode() for name in await self._redis.zrange(index, 0, -1)]
            open_ones = {name.decode() for name in await self._redis.zrange(keys.OPEN_RUNS, 0, -1)}
        if open_ones.isdisjoint(ids):
            for run_id in ids:
                await _DELETE.run(self._redis, names_of(run_id))
        await self._evals.delete(eval_id)

    async def kept_since(self) -> int:
        """Return since when things are kept, in Unix seconds: what is older has been lost."""
        return await self._evals.kept_since()

    async def put_back(self, evaluation: Evaluation) -> None:
        """Write an eval again that Redis has lost."""
        await self._evals.put_back(evaluation)

    async def create_run(
        self, evaluation: Evaluation, run: RunSpec, *, force_new: bool = False
    ) -> tuple[Run, bool]:
        """Return the run of this eval with this content, as it is, and whether it is a new one.

        Raises:
            Overloaded: too many are open or kept. Gone: the eval was deleted meanwhile.
            InvalidSpec: a given review is about nothing of this run.
        """
        run_id, made = await create_run(
            self._redis, self._ids.make("evalrun"), evaluation, run, force_new=force_new
        )
        return await self.get_run(evaluation.id, run_id), made

    async def find_run(self, evaluation: Evaluation, run: RunSpec) -> Run | None:
        """Return the run of this eval with this content, if it is there."""
        run_id = await find_run(self._redis, evaluation, run)
        if run_id is None:
            return None
        [found] = await self._read_runs([run_id])
        return found

    async def get_run(self, eval_id: str, run_id: str) -> Run:
        """Return a run.

        Raises:
            NotFound: there was none, or it is a run of another eval. Gone: lost or deleted.
        """
        none = NotFound(f"The eval {eval_id!r} has no run {run_id!r}.", param="run_id")
        if not (self._ids.made("eval", eval_id) and self._ids.made("evalrun", run_id)):
            raise none
        [run] = await self._read_runs([run_id])
        if run is None:
            raise lost("run", run_id)
        if run.eval_id != eval_id:
            raise none
        return run

    async def list_runs(
        self,
        evaluation: Evaluation,
        after: str | None,
        limit: int,
        order: Order = "desc",
        status: RunStatus | None = None,
    ) -> Page[Run]:
        """Return a page of an eval's runs, by the time of their making."""
        index = keys.evaluation_runs(evaluation.id)

        def wanted(run: Run) -> bool:
            return status is None or run.status is status

        return await page_of(self._redis, index, after, limit, order, self._read_runs, wanted)

    async def run_spec(self, run_id: str) -> RunSpec:
        """Return what a run executes, with the limits that hold now. Raises Gone."""
        with reaching_redis():
            stored = await self._redis.get(keys.evaluation_run_part(run_id, "spec"))
            limits = await self._redis.hget(keys.evaluation_run(run_id), "limits")
        if stored is None or limits is None:
            raise lost("run", run_id)
        return await asyncio.to_thread(run_spec_of, stored, limits)

    async def cancel(self, run: Run, reason: str = "user") -> Run:
        """End an open run as canceled; one that has ended stays as it is. Raises Gone."""
        await _CANCEL.run(self._redis, names_of(run.id), reason)
        return await self.get_run(run.eval_id, run.id)

    async def resume(self, run: Run, only: Only, limits: Limits | None = None) -> Run:
        """Open a run again for what failed, could not be read, or is missing of it.

        `all_missing` is all without a verdict; otherwise what was not asked yet stays aside.
        Without `limits` those that it had hold on, the deadline from now.

        Raises:
            Conflict: it is open. Overloaded: too many are. Gone: lost or deleted.
        """
        holding = limits or (await self.run_spec(run.id)).limits
        fields = [part for pair in limit_fields(holding).items() for part in pair]
        values = (only, MAX_OPEN_RUNS, holding.model_dump_json(), deadline_ms(holding))
        [word] = await _RESUME.run(self._redis, names_of(run.id), *values, *fields)
        if word == b"gone":
            raise lost("run", run.id)
        if word == b"open":
            msg = "The run is open; cancel it first, or wait for its end."
            raise Conflict(msg)
        if word == b"full":
            msg = f"{MAX_OPEN_RUNS} runs are open already; try again later."
            raise Overloaded(msg, retry_after=FULL_RETRY_AFTER)
        return await self.get_run(run.eval_id, run.id)

    async def delete_run(self, run: Run) -> None:
        """Delete a run. Raises Conflict while it is open; Gone."""
        [word] = await _DELETE.run(self._redis, names_of(run.id))
        if word == b"gone":
            raise lost("run", run.id)
        if word == b"open":
            msg = "The run is open; cancel it first."
            raise Conflict(msg)
        with reaching_redis():
            await self._redis.zrem(keys.evaluation_runs(run.eval_id), run.id)

    async def output_items(  # noqa: PLR0917 - as the API names them
        self,
        evaluation: Evaluation,
        run: Run,
        after: str | None,
        limit: int,
        status: str | None = None,
        order: Order = "asc",
    ) -> Page[OutputItem]:
        """Return a page of a run's items by number, all or those of one status.

        Raises:
            InvalidRequest: `after` is no item of it, or there is no such status.
        """
        if status is not None and status not in FILTERS:
            msg = f"'status' must be one of {', '.join(FILTERS)}."
            raise InvalidRequest(msg, param="status")
        reader = await self._reader(evaluation, run)
        letters = await reader.letters()
        numbers = range(run.progress.total)
        if order == "desc":
            numbers = numbers[::-1]
        if after is not None:
            place = number_of(after, run, "after")
            numbers = numbers[numbers.index(place) + 1 :]
        wanted = None if status is None else FILTERS[status]
        found: list[int] = []
        for number in numbers:
            if wanted is None or letters[number : number + 1] in wanted:
                found.append(number)
                if len(found) > limit:
                    break
        return await reader.read(found[:limit], letters), len(found) > limit

    async def review_states(self, run: Run) -> bytes:
        """Return how far each review of a run is, a letter of `states` for each by number."""
        with reaching_redis():
            name = keys.evaluation_run_part(run.id, "review-states")
            return await self._redis.get(name) or b""

    async def items_at(
        self, evaluation: Evaluation, run: Run, numbers: Sequence[int]
    ) -> list[OutputItem]:
        """Return the items of these numbers, read in slices."""
        reader = await self._reader(evaluation, run)
        letters = await reader.letters()
        found: list[OutputItem] = []
        for start in range(0, len(numbers), _SLICE):
            found += await reader.read(list(numbers[start : start + _SLICE]), letters)
            await asyncio.sleep(0)
        return found

    async def get_item(self, evaluation: Evaluation, run: Run, item_id: str) -> OutputItem:
        """Return one item. Raises NotFound."""
        number = number_of(item_id, run, "item_id")
        reader = await self._reader(evaluation, run)
        [item] = await reader.read([number], await reader.letters())
        return item

    async def override(
        self, evaluation: Evaluation, run: Run, item_id: str, request: OverrideRequest
    ) -> OutputItem:
        """Put a person's verdict in the place of an item's; what stood there is kept.

        Raises:
            NotFound: no such item. InvalidSpec: the verdict does not fit it.
            Conflict: it has not ended yet, is an answer, or was changed too often.
        """
        reader = await self._reader(evaluation, run)
        await override(reader, number_of(item_id, run, "item_id"), request, names_of(run.id))
        return await self.get_item(evaluation, run, item_id)

    async def material(self, evaluation: Evaluation, run: Run) -> RunMaterial:
        """Return all of a run, for results, reports and artefacts. Raises Gone."""
        spec = await self.run_spec(run.id)
        return await read_material(self._redis, evaluation, run, spec)

    def events(self, run_id: str, after: str | None) -> AsyncIterator[RunEvent | None]:
        """Yield a run's events behind `after`, then live; None is a heartbeat.

        Ends when the run has ended and all is told. Raises InvalidRequest; Overloaded.
        """
        return self._events.follow(run_id, after)

    async def _reader(self, evaluation: Evaluation, run: Run) -> ItemReader:
        run_spec = await self.run_spec(run.id)

        def reader() -> ItemReader:
            return ItemReader.of(self._redis, run.id, Plan(spec_of(evaluation), run_spec))

        return await asyncio.to_thread(reader)

    async def _read_runs(self, ids: list[str]) -> list[Run | None]:
        with reaching_redis():
            async with self._redis.pipeline(transaction=False) as batch:
                for run_id in ids:
                    batch.hgetall(keys.evaluation_run(run_id))
                found: list[dict[bytes, bytes]] = await batch.execute()
        return [run_of(fields) if b"eval" in fields else None for fields in found]
