"""The job runner: one loop that looks for open runs, takes units of them and ends what is done.

Owns the slots: so many units are in work at once in this process, shared out between the open
runs. It finds its work in Redis alone, so a unit is taken up again after a crash as any other.
What a unit's way is, `execution` knows; what a run is, `works`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time

import structlog

from services.evaluator.jobs import ends
from services.evaluator.jobs.connection import StoreUnreachable
from services.evaluator.jobs.ends import End
from services.evaluator.jobs.execution import Execution
from services.evaluator.jobs.queue import TAKEN, Queue, Take, Taken
from services.evaluator.jobs.sharing import shares
from services.evaluator.jobs.work import Unit, Work
from services.evaluator.jobs.works import Works
from services.evaluator.metrics import EvaluatorMetrics

log = structlog.get_logger(__name__)

_LOOK_SECONDS = 1.0
_HUNGRY_SECONDS = 0.1
"""Between two tries to take, while other evaluators' units may bring more into a run."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0


def units_beside(calls: int) -> int:
    """Return how many units are worked on where so many calls may be in flight.

    A quarter more, so that the next call is ready when one ends, and its reply is read and
    committed while that is under way.
    """
    return calls + calls // 4


class Runner:
    """Executes runs until it is stopped."""

    def __init__(
        self,
        queue: Queue,
        works: Works,
        execution: Execution,
        metrics: EvaluatorMetrics,
        width: int,
    ) -> None:
        """Prepare; `width` is the number of units that are worked on at once."""
        self._queue = queue
        self._works = works
        self._execution = execution
        self._metrics = metrics
        self._width = width
        self._tasks: dict[asyncio.Task[None], Work] = {}
        self._ended: list[tuple[Work, Unit, End]] = []
        self._wake = asyncio.Event()
        self._looked_at = 0.0
        self._lone: tuple[Work, Unit] | None = None
        """The last unit that was run alone."""
        self._unsure = False
        """Whether something may have been taken whose reply was lost."""
        self._stopping = False
        self._loop: asyncio.Task[None] | None = None
        self._reachable: bool | None = None

    @property
    def reachable(self) -> bool:
        """Return whether Redis answered when it was last asked, at most some seconds ago."""
        return bool(self._reachable)

    def start(self) -> None:
        """Start the loop on the running event loop."""
        self._works.changed = self._joined
        self._loop = asyncio.create_task(self._run(), name="runner")

    def poke(self) -> None:
        """Look now, because a run was created, resumed or cancelled."""
        self._looked_at = 0.0
        self._wake.set()

    def _joined(self) -> None:
        """Take of a run that was read in, first of all what was taken before."""
        self._unsure = True
        self._wake.set()

    async def stop(self) -> None:
        """Take nothing new, close the calls in flight, put their units back into the queue."""
        self._stopping = True
        self._wake.set()
        if self._loop is not None:
            await self._loop
        await self._works.stop()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # Without Redis the lease runs out by itself.
        with contextlib.suppress(StoreUnreachable):
            await self._exchange([])
            await self._queue.release(self._works.all())

    async def _run(self) -> None:
        pause = _FIRST_PAUSE
        while not self._stopping:
            try:
                await self._round()
                self._note_reachable(reachable=True)
                pause = _FIRST_PAUSE
            except StoreUnreachable as fault:
                self._unsure = True
                self._note_reachable(reachable=False, why=fault.message)
                await self._sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
                continue
            except Exception:
                # The loop must outlive any fault: without it no run goes on. This is one of the
                # places with a broad except.
                self._unsure = True
                self._metrics.faults.inc()
                log.exception("a round of the runner failed")
                await self._sleep(pause)
            await self._until_due()

    async def _until_due(self) -> None:
        """Wait until there is something to do; at most to the next look."""
        if not self._wake.is_set():
            hungry = len(self._tasks) < self._width and self._works.hungry
            wait = self._looked_at + _LOOK_SECONDS - time.monotonic()
            loop = asyncio.get_running_loop()
            timer = loop.call_later(min(wait, _HUNGRY_SECONDS) if hungry else wait, self._due)
            await self._wake.wait()
            timer.cancel()
        self._wake.clear()

    def _due(self) -> None:
        self._works.ask_again()
        self._wake.set()

    async def _round(self) -> None:
        if time.monotonic() - self._looked_at >= _LOOK_SECONDS:
            self._looked_at = time.monotonic()
            lost = self._works.note(await self._queue.look())
            for work in await self._works.settle(lost):
                self._close(work)
        if self._unsure:
            await self._recover()
        await self._exchange([] if self._stopping else self._wishes())

    def _wishes(self) -> list[Take]:
        suspects = self._works.suspects
        if suspects:
            # One that processes died with is run when nothing else is.
            idle = not self._tasks and not self._ended
            return [Take(suspects[0], 1, "alone")] if idle else []
        if self._lone is not None and self._lone[1].entry in self._lone[0].in_work:
            return []
        free = self._width - len(self._tasks)
        return [Take(work, most) for work, most in shares(self._works.open, free)]

    async def _exchange(self, takes: list[Take]) -> None:
        ended, self._ended = self._ended, []
        if not ended and not takes:
            return
        try:
            added, taken = await self._queue.exchange(
                [(work, end) for work, _, end in ended], takes
            )
        except BaseException:
            self._ended = ended + self._ended
            raise
        for take, brought in zip(takes, taken, strict=True):
            self._begin(take, brought)
        for (work, unit, _), more in zip(ended, added, strict=True):
            # Nothing was taken of a run while its own bounds were reached.
            if more or work.full:
                self._wake.set()
            work.end(unit, more=more > 0)

    def _begin(self, take: Take, brought: Taken) -> None:
        work = take.work
        if take.stream == "alone":
            self._works.asked_suspects(work, found=bool(brought.units))
        elif brought.word == TAKEN:
            work.dry = len(brought.units) < take.most
        elif brought.word == "busy":
            work.full = True
        else:
            self._works.note_end(work, brought.word)
        for unit in brought.units:
            self._start(work, unit)

    def _start(self, work: Work, unit: Unit) -> None:
        work.in_work[unit.entry] = unit
        if unit.stream == "alone":
            self._lone = (work, unit)
        if unit.kind in "qx":
            self._ended.append((work, unit, ends.spread(work.plan, unit)))
            self._wake.set()
            return
        work.executing += 1
        task = asyncio.create_task(self._work_on(work, unit))
        self._tasks[task] = work
        task.add_done_callback(self._forget)

    async def _work_on(self, work: Work, unit: Unit) -> None:
        pause = _FIRST_PAUSE
        while True:
            try:
                end = await self._execution.execute(work, unit)
                break
            except StoreUnreachable:
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
        if end is None:
            work.end(unit, more=False)
            work.full = True
        else:
            self._ended.append((work, unit, end))

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task).executing -= 1
        self._wake.set()

    async def _recover(self) -> None:
        """Start what was taken by a request whose reply was lost."""
        for work in self._works.all():
            for unit in await self._queue.mine(work):
                if unit.entry not in work.in_work:
                    self._start(work, unit)
        self._unsure = False

    def _close(self, work: Work) -> None:
        """Close the calls of a run that Redis has lost."""
        for task, its_work in self._tasks.items():
            if its_work is work:
                task.cancel()
        self._ended = [each for each in self._ended if each[0] is not work]

    async def _sleep(self, seconds: float) -> None:
        self._wake.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), seconds)

    def _note_reachable(self, *, reachable: bool, why: str = "") -> None:
        if self._reachable is not reachable:
            self._reachable = reachable
            if reachable:
                log.info("Redis reached")
            else:
                log.warning("Redis unreachable, trying on", why=why)
