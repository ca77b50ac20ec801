"""The runs that this evaluator knows to be open, read in when they appear, left when they end.

Owns what it means that a run is not open any more: it has ended, was deleted, or Redis has lost
it. Takes no unit.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import structlog

from services.evaluator.jobs.connection import StoreUnreachable, reaching_redis
from services.evaluator.jobs.creation import names_of
from services.evaluator.jobs.losses import put_back
from services.evaluator.jobs.queue import Looked, Queue
from services.evaluator.jobs.scripts.prelude import EXPIRED
from services.evaluator.jobs.store import EvalStore
from services.evaluator.jobs.work import Work, work_of
from services.evaluator.metrics import EvaluatorMetrics
from shared.errors import LLMZooError
from shared.protocol.evals.run import RunStatus
from shared.registry import keys

log = structlog.get_logger(__name__)

_KEEP_SECONDS = 60.0
_GONE = 410


class Works:
    """The open runs, by id."""

    def __init__(
        self, redis: Any, queue: Queue, store: EvalStore, metrics: EvaluatorMetrics
    ) -> None:
        """Know none yet."""
        self._redis = redis
        self._queue = queue
        self._store = store
        self._metrics = metrics
        self._works: dict[str, Work] = {}
        self._loading: dict[str, asyncio.Task[None]] = {}
        self._suspects: list[str] = []
        self._elsewhere = False
        self._kept_at = time.monotonic()
        self._kept_since: int | None = None
        self.changed: Callable[[], None] = lambda: None
        """Called when a run can be worked on."""

    @property
    def open(self) -> list[Work]:
        """Return the runs of which something may be taken now."""
        return [work for work in self._works.values() if work.ready]

    @property
    def hungry(self) -> bool:
        """Return whether other processes may bring more work into a run at any moment."""
        return self._elsewhere

    @property
    def suspects(self) -> list[Work]:
        """Return the runs of which something is to be run alone."""
        return [self._works[run_id] for run_id in self._suspects if run_id in self._works]

    def all(self) -> list[Work]:
        """Return all runs of which something is or may be in work here."""
        return list(self._works.values())

    def note(self, looked: Looked) -> list[Work]:
        """Take note of a look; return the runs that are not open and were not known to end."""
        seen = {each.run_id: each for each in looked.runs}
        if looked.reclaimed:
            log.info("units of a dead evaluator taken back", units=looked.reclaimed)
        queued = sum(each.status is RunStatus.QUEUED for each in looked.runs)
        self._metrics.jobs.labels(RunStatus.QUEUED).set(queued)
        self._metrics.jobs.labels(RunStatus.RUNNING).set(len(seen) - queued)
        still = [each.still_seconds for each in looked.runs if each.status is RunStatus.RUNNING]
        self._metrics.note_progress(max(still, default=None))
        self._suspects = [run_id for run_id, each in seen.items() if each.suspects]
        self._elsewhere = False
        for run_id, each in seen.items():
            work = self._works.get(run_id)
            if work is None:
                if run_id not in self._loading:
                    task = asyncio.create_task(self._load(run_id), name=run_id)
                    self._loading[run_id] = task
                continue
            # One that was resumed while its last units were in work.
            work.over = False
            self._elsewhere |= each.entries > len(work.in_work)
        self.ask_again()
        return [
            work for run_id, work in self._works.items() if run_id not in seen and not work.over
        ]

    async def settle(self, missing: list[Work]) -> list[Work]:
        """Find out what became of runs; return those that Redis has lost. Raises as `Queue`."""
        await self._note_kept_since()
        lost: list[Work] = []
        if missing:
            statuses = await self._queue.statuses([work.run_id for work in missing])
            for work, status in zip(missing, statuses, strict=True):
                if status is None:
                    await put_back(self._redis, self._store, work)
                    log.error("run lost by Redis", run=work.run_id)
                    self._metrics.lost.inc()
                    lost.append(work)
                    work.in_work.clear()
                    self.note_end(work, RunStatus.FAILED.value)
                elif not status_open(status):
                    self.note_end(work, status)
        self._drop_ended()
        if time.monotonic() - self._kept_at > _KEEP_SECONDS:
            await self._queue.keep(self._works.values())
            self._kept_at = time.monotonic()
        return lost

    def ask_again(self) -> None:
        """Forget that runs had nothing, or no room."""
        for work in self._works.values():
            work.dry = work.full = False

    def asked_suspects(self, work: Work, *, found: bool) -> None:
        """Note that a unit to be run alone was asked for."""
        if not found and work.run_id in self._suspects:
            self._suspects.remove(work.run_id)

    def note_end(self, work: Work, status: str) -> None:
        """Note that a run has ended; what is in work of it goes on to its end."""
        if work.over:
            return
        work.over = True
        if status in {end.value for end in RunStatus if end.over}:
            seconds = time.monotonic() - work.since
            self._metrics.job_seconds.labels(status).observe(seconds)
            log.info("run ended", run=work.run_id, status=status, seconds=round(seconds, 1))

    async def stop(self) -> None:
        """Stop reading runs in."""
        for task in self._loading.values():
            task.cancel()
        await asyncio.gather(*self._loading.values(), return_exceptions=True)

    def _drop_ended(self) -> None:
        for run_id, work in list(self._works.items()):
            if work.over and not work.in_work:
                del self._works[run_id]

    async def _load(self, run_id: str) -> None:
        try:
            work = await self._read(run_id)
        except StoreUnreachable:
            return  # the next look finds it again
        except LLMZooError as fault:
            await self._fail(run_id, EXPIRED if fault.status == _GONE else fault.message)
            return
        except Exception as fault:
            # A run that cannot be read ends, visibly; never the process. This is one of the
            # places with a broad except.
            self._metrics.faults.inc()
            log.exception("a run cannot be read", run=run_id)
            await self._fail(run_id, f"Internal error ({type(fault).__name__}).")
            return
        finally:
            del self._loading[run_id]
        log.info("run taken up", run=run_id, units=work.plan.answers + work.plan.reviews)
        self._works[run_id] = work
        self.changed()

    async def _read(self, run_id: str) -> Work:
        with reaching_redis():
            fields = await self._redis.hgetall(keys.evaluation_run(run_id))
            stored = await self._redis.get(keys.evaluation_run_part(run_id, "spec"))
        if b"eval" not in fields or stored is None:
            raise LLMZooError(EXPIRED)
        evaluation = await self._store.get_eval(fields[b"eval"].decode())
        return await asyncio.to_thread(work_of, run_id, evaluation, stored, fields)

    async def _fail(self, run_id: str, error: str) -> None:
        try:
            await self._queue.fail(names_of(run_id), error)
        except StoreUnreachable:
            return  # the next look finds it again

    async def _note_kept_since(self) -> None:
        since = await self._store.kept_since()
        if self._kept_since not in {None, since}:
            log.error("Redis lost all evals and runs", kept_since=since)
        self._kept_since = since


def status_open(status: str) -> bool:
    """Return whether a run with this status is open."""
    return status in {RunStatus.QUEUED.value, RunStatus.RUNNING.value}
