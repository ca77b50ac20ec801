"""The job runner: finds open runs, takes as many as it may, holds and executes them.

Owns the one loop that claims runs and renews their leases, and the runs' tasks. It finds its
work in Redis alone, so a run is taken up again after a crash as any other. What an item's way
is, `execution` knows.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from services.evaluator.calls import Calls
from services.evaluator.jobs.claims import Claims, RunNotHeld, Work
from services.evaluator.jobs.connection import StoreUnreachable
from services.evaluator.jobs.execution import RunExecution
from services.evaluator.jobs.store import EvalStore
from services.evaluator.judging.dimensions import Dimension
from services.evaluator.metrics import EvaluatorMetrics
from shared.protocol.evals import RunStatus

log = structlog.get_logger(__name__)

_TICK_SECONDS = 1.0
MAX_RUNS = 4
"""Runs that one evaluator executes side by side; the calls in flight have their own bound."""

# Why a run is not held any more; the other ends are of the execution's own making.
_GONE = "gone"
_GIVEN_UP = {"canceled", _GONE, "lost"}


@dataclass(slots=True)
class _Active:
    task: asyncio.Task[None]
    started: float
    work: Work | None = None


class Runner:
    """Executes runs until it is stopped."""

    def __init__(
        self,
        claims: Claims,
        store: EvalStore,
        calls: Calls,
        dimensions: Mapping[str, Dimension],
        *,
        metrics: EvaluatorMetrics,
        width: int,
    ) -> None:
        """Prepare; `width` is the number of items of one run that are worked on at once."""
        self._claims = claims
        self._store = store
        self._calls = calls
        self._dimensions = dimensions
        self._metrics = metrics
        self._width = width
        self._active: dict[str, _Active] = {}
        self._wake = asyncio.Event()
        self._stopping = False
        self._loop: asyncio.Task[None] | None = None
        self._reachable: bool | None = None
        self._kept_since: int | None = None

    @property
    def reachable(self) -> bool:
        """Return whether Redis answered when it was last asked, at most some seconds ago."""
        return bool(self._reachable)

    def start(self) -> None:
        """Start the loop on the running event loop."""
        self._loop = asyncio.create_task(self._run(), name="runner")

    def poke(self) -> None:
        """Look now, because a run was created or cancelled."""
        self._wake.set()

    async def stop(self) -> None:
        """Take nothing new, close the calls in flight, put the runs back into the queue."""
        self._stopping = True
        self._wake.set()
        if self._loop is not None:
            await self._loop
        tasks = [active.task for active in self._active.values()]
        run_ids = list(self._active)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for run_id in run_ids:
            # Without Redis the lease runs out by itself.
            with contextlib.suppress(StoreUnreachable):
                await self._claims.release(run_id)

    async def _run(self) -> None:
        while not self._stopping:
            try:
                await self._tick()
                self._note_reachable(reachable=True)
            except StoreUnreachable:
                self._note_reachable(reachable=False)
            except Exception:
                # The loop must outlive any fault: without it no run goes on. This is one of the
                # three places with a broad except.
                self._metrics.faults.inc()
                log.exception("looking for runs failed")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), _TICK_SECONDS)
            self._wake.clear()

    async def _tick(self) -> None:
        self._note_kept_since(await self._store.kept_since())
        for run_id, active in list(self._active.items()):
            word = await self._claims.renew(run_id)
            if word in _GIVEN_UP and not active.task.done():
                await self._give_up(run_id, active, word)
        queued = 0
        for run_id, status in await self._claims.open_runs():
            if run_id in self._active:
                continue
            if self._room and await self._claims.claim(run_id):
                self._begin(run_id)
            elif status == RunStatus.QUEUED:
                queued += 1
        self._metrics.jobs.labels(RunStatus.QUEUED).set(queued)
        self._metrics.jobs.labels(RunStatus.RUNNING).set(len(self._active))

    @property
    def _room(self) -> bool:
        return len(self._active) < MAX_RUNS and not self._stopping

    def _begin(self, run_id: str) -> None:
        task = asyncio.create_task(self._execute(run_id), name=run_id)
        self._active[run_id] = _Active(task, time.monotonic())
        task.add_done_callback(lambda _: self._forget(run_id))

    def _forget(self, run_id: str) -> None:
        del self._active[run_id]
        self._wake.set()

    async def _give_up(self, run_id: str, active: _Active, word: str) -> None:
        log.info("run given up", run=run_id, why=word)
        active.task.cancel()
        await self._note_given_up(run_id, active, word)

    async def _note_given_up(self, run_id: str, active: _Active, word: str) -> None:
        if word == RunStatus.CANCELED:
            self._note_end(active, run_id, RunStatus.CANCELED)
        elif word == _GONE and active.work is not None:
            log.error("run lost by Redis", run=run_id)
            self._metrics.lost.inc()
            await self._store.note_lost(active.work.evaluation, active.work.run)
            self._note_end(active, run_id, RunStatus.FAILED)

    async def _execute(self, run_id: str) -> None:
        active = self._active[run_id]
        try:
            work = active.work = await self._claims.work(run_id)
            log.info("run taken", run=run_id, items=work.run.total, left=len(work.left))
            execution = RunExecution(
                work, self._claims, self._calls, self._dimensions, self._metrics
            )
            status = await execution.run(self._width)
        except RunNotHeld as fault:
            log.info("run not held any more", run=run_id, why=str(fault))
            with contextlib.suppress(StoreUnreachable):
                await self._note_given_up(run_id, active, str(fault))
        except StoreUnreachable:
            log.warning("Redis unreachable, the run is taken up again later", run=run_id)
        except Exception as fault:
            # A fault of ours ends the run, visibly; never the process.
            self._metrics.faults.inc()
            log.exception("run failed", run=run_id)
            with contextlib.suppress(StoreUnreachable, RunNotHeld):
                reason = f"Internal error ({type(fault).__name__})."
                await self._claims.finish(run_id, RunStatus.FAILED, reason)
            self._note_end(active, run_id, RunStatus.FAILED)
        else:
            self._note_end(active, run_id, status)

    def _note_end(self, active: _Active, run_id: str, status: RunStatus) -> None:
        seconds = time.monotonic() - active.started
        self._metrics.job_seconds.labels(status).observe(seconds)
        log.info("run ended", run=run_id, status=status, seconds=round(seconds, 1))

    def _note_kept_since(self, since: int) -> None:
        if self._kept_since not in {None, since}:
            log.error("Redis lost all evals and runs", kept_since=since)
        self._kept_since = since

    def _note_reachable(self, *, reachable: bool) -> None:
        if self._reachable is not reachable:
            self._reachable = reachable
            if reachable:
                log.info("Redis reached")
            else:
                log.warning("Redis unreachable, trying on")
