"""The life of a worker: from its start over loading and warming to ready, draining and the end.

Owns the state that health checks and heartbeats show, the loading thread and draining. What a
failure to load means for the process is the caller's (`fail`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import structlog

from services.worker.active import ActiveGenerations
from services.worker.daemon_thread import in_daemon_thread
from services.worker.engine_client import EngineState, EngineStats
from services.worker.framed_answers import FramedAnswers
from services.worker.metrics import WorkerMetrics
from services.worker.served_model import ServedModel
from shared.errors import EngineFault, LLMZooError, Unavailable
from shared.progress import Progress, ProgressCallback, Stage
from shared.protocol.workers import State
from shared.settings import WorkerSettings

log = structlog.get_logger(__name__)

_RETRY_AFTER_LOADING, _RETRY_AFTER_RESTART = 5.0, 1.0

_OUT_OF_SERVICE = "taken out of service; `llmzoo drain --undo` brings it back"

Opener = Callable[[WorkerSettings, ProgressCallback], ServedModel]


class Lifecycle:
    """State and served model of one worker process."""

    def __init__(
        self,
        settings: WorkerSettings,
        open_model: Opener,
        metrics: WorkerMetrics,
        fail: Callable[[LLMZooError], None],
        stuck_seconds: float = 30.0,
    ) -> None:
        """Start in `starting`.

        Args:
            settings: the model, and how long draining may take.
            open_model: called in a thread.
            metrics: where the load time goes.
            fail: called on the event loop when the model cannot be served.
            stuck_seconds: a step that takes longer is taken for one that never ends.
        """
        self._settings = settings
        self._open_model = open_model
        self._metrics = metrics
        self._fail = fail
        self._stuck_seconds = stuck_seconds
        self._state = State.STARTING
        self._progress: Progress | None = None
        self._failure = ""
        self._held_up = ""
        self._held_by_others = False
        self._loading_since = 0.0
        self._draining = False
        self._out_of_service = False
        self._told_to_drain = asyncio.Event()
        self._drained = asyncio.Event()
        self._asyncio: asyncio.AbstractEventLoop | None = None
        self.served: ServedModel | None = None
        self.active = ActiveGenerations()
        self.answers = FramedAnswers(settings.orphan_grace, settings.answer_log_bytes, metrics)
        self.changed: Callable[[], None] = lambda: None

    @property
    def state(self) -> State:
        """Where the worker is now; from any thread."""
        if self._draining or self._out_of_service:
            return State.DRAINING
        if self.served is None or self._state is not State.READY:
            return self._state
        if self.served.engine.health.state is EngineState.RESTARTING:
            return State.WARMING
        return State.FAILED if self._fault_of_engine() else State.READY

    @property
    def detail(self) -> str:
        """What a person should know of the state; from any thread."""
        if self._state in {State.DOWNLOADING, State.LOADING} and self._progress is not None:
            return "" if self._progress.stage == self._state.value else self._progress.stage.value
        if self._state is State.STARTING and self._held_up:
            return self._held_up
        if self._out_of_service:
            return _OUT_OF_SERVICE
        return self._failure or self._fault_of_engine()

    @property
    def waits_for_others(self) -> bool:
        """Whether it waits for what another process holds; from any thread."""
        return self._state is State.STARTING and self._held_by_others

    @property
    def progress(self) -> float | None:
        """The done part of the present stage in [0, 1]; from any thread."""
        loading = self._state in {State.DOWNLOADING, State.LOADING}
        return self._progress.fraction if loading and self._progress else None

    def require_served(self) -> ServedModel:
        """Return the model, if requests can be taken.

        Raises:
            Unavailable: not yet, or not any more.
        """
        if self.state is State.READY and self.served is not None:
            return self.served
        retry_after = _RETRY_AFTER_LOADING if self.served is None else _RETRY_AFTER_RESTART
        raise Unavailable(f"This worker is {self.state.value}.", retry_after=retry_after)

    def stats(self) -> EngineStats | None:
        """Return how busy the engine is, None as long as there is none; from any thread."""
        return None if self.served is None else self.served.engine.stats()

    def begin_draining(self) -> None:
        """Take no more requests and let the running ones end; fit for a signal handler."""
        self._draining = True
        if self._asyncio is not None:
            self._asyncio.call_soon_threadsafe(self._told_to_drain.set)

    async def drained(self) -> None:
        """Wait, once told to drain, until nothing is left to wait for, or the time is over."""
        await self._drained.wait()

    def take_out_of_service(self, *, out: bool) -> None:
        """Drain without an end: what runs finishes, nothing new is taken until this is undone."""
        if out is not self._out_of_service:
            self._out_of_service = out
            log.info("state", state=self.state)
            self.changed()

    def hold_up(self, reason: str, *, by_others: bool = False) -> None:
        """Say for what a model that is not loaded yet has to wait; empty: for nothing any more.

        From any thread; `by_others`: another process holds it.
        """
        self._held_up, self._held_by_others = reason, by_others
        self._loading_since = time.monotonic()  # from the end of the wait
        if self._state is State.STARTING:
            self.changed()
        else:
            self._enter(State.STARTING)

    def give_up(self, fault: LLMZooError) -> None:
        """Fail for good, for what has happened beside the engine; from any thread."""
        if self._asyncio is not None:
            self._asyncio.call_soon_threadsafe(self._give_up, fault)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Load in the background while the context lasts; at its end the engine is gone."""
        self._asyncio = asyncio.get_running_loop()
        if self._draining:
            self._told_to_drain.set()
        loading = asyncio.create_task(self._load(), name="loading")
        loading.add_done_callback(self._note_crash)
        draining = asyncio.create_task(self._drain(), name="draining")
        try:
            yield
        finally:
            loading.cancel()
            draining.cancel()
            await asyncio.gather(loading, draining, return_exceptions=True)
            await self.answers.close()
            await self._stop_engine()

    async def _load(self) -> None:
        self._loading_since = time.monotonic()
        try:
            served = await in_daemon_thread(
                lambda: self._open_model(self._settings, self._note_progress)
            )
            self.served = served
            served.engine.start(asyncio.get_running_loop(), self._note_engine)
            self._enter(State.WARMING)
            await served.warm_up()
        except LLMZooError as fault:
            self._give_up(fault)
            return
        self._metrics.load_seconds.set(time.monotonic() - self._loading_since)
        self._enter(State.READY)

    def _note_crash(self, loading: asyncio.Task[None]) -> None:
        """Treat what no type of ours foresaw as a failure too: nobody waits for ever."""
        fault = None if loading.cancelled() else loading.exception()
        if fault is not None:
            log.error("model_load_crashed", exc_info=fault)
            self._give_up(EngineFault(f"Loading crashed: {type(fault).__name__}: {fault}"))

    def _give_up(self, fault: LLMZooError) -> None:
        if self._state is State.FAILED:
            return
        self._failure = fault.message
        self._enter(State.FAILED)
        self._fail(fault)

    async def _drain(self) -> None:
        """Once told: let running requests finish, and orphans find a reader, while there is time.

        The rest is handed back, or aborted where nobody can go on with it.
        """
        await self._told_to_drain.wait()
        self.changed()
        # The server cuts connections at the timeout itself: error frames must be out before.
        timeout = self._settings.drain_timeout
        try:
            async with asyncio.timeout(timeout - min(1.0, timeout / 2)):
                if self.served is not None:
                    await self.served.engine.drain()
                await self.answers.without_orphans()
        except TimeoutError:
            log.warning("drain_timed_out", aborted=len(self.active), handed_back=len(self.answers))
            self.answers.hand_back()
            self.active.abort_all(Unavailable("This worker is shutting down.", retry_after=1))
        finally:
            self._drained.set()

    async def _stop_engine(self) -> None:
        """End the engine after its present step; one that is stuck ends with the process."""
        if self.served is None:
            return
        if self.served.engine.last_step_age() > self._stuck_seconds:
            log.error("engine_stuck_at_stop")
            return
        await self.served.engine.stop()

    def _note_engine(self) -> None:
        """Tell of the engine's health; one that has failed for good ends the process."""
        assert self.served is not None
        health = self.served.engine.health
        if health.state is EngineState.STOPPED:
            return
        self.changed()
        failed = health.state is EngineState.FAILED and self._state is State.READY
        if failed and not self._draining:
            self._give_up(EngineFault(f"The engine has failed: {health.reason}"))

    def _enter(self, state: State) -> None:
        self._state = state
        log.info("state", state=state)
        self.changed()

    def _note_progress(self, progress: Progress) -> None:
        fetching = progress.stage in {Stage.WAITING, Stage.DOWNLOADING}
        state = State.DOWNLOADING if fetching else State.LOADING
        self._progress = progress
        if state is not self._state:
            self._enter(state)

    def _fault_of_engine(self) -> str:
        if self.served is None or self._state is not State.READY:
            return ""
        health = self.served.engine.health
        if health.state is not EngineState.RUNNING:
            return f"the engine is {health.state.value}: {health.reason}".removesuffix(": ")
        age = self.served.engine.last_step_age()
        return f"the engine's step takes {age:.0f} s already" if age > self._stuck_seconds else ""
