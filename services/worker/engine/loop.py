"""The engine loop: our own engine behind `EngineClient`, a thread that steps it.

Owns the thread's life, the way of sequences in and of tokens out, and the engine's health: after
a fault the thread is started again, a bounded number of times. Knows no tensor and no HTTP. All
methods run on the event loop's thread, or on any thread where they say so.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import structlog

from services.worker.engine.engine import Engine, StepOutput
from services.worker.engine.sequence import FinishReason, Sequence
from services.worker.engine.stepper import Stepper
from services.worker.engine.stream import TokenStream
from services.worker.engine_client import EngineHealth, EngineState, EngineStats
from shared.errors import InvalidRequest, Overloaded, Unavailable
from shared.protocol.priority import Priority

log = structlog.get_logger(__name__)

T = TypeVar("T")

_MIN_RETRY_AFTER, _MAX_RETRY_AFTER = 1.0, 60.0
# Seconds before each restart; one more fault without progress between them is the last.
_RESTART_DELAYS = (0.0, 0.5, 2.0)


class EngineLoop:
    """Steps an engine in a thread of its own, while there is something to do."""

    def __init__(
        self,
        engine: Engine,
        *,
        free_memory: Callable[[], None] = lambda: None,
        restart_delays: tuple[float, ...] = _RESTART_DELAYS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the engine over; nothing else may touch it from here on.

        Args:
            engine: not stepped by anybody yet.
            free_memory: gives back to the device what is cached and not used.
            restart_delays: seconds before each of the restarts that follow on one another.
            clock: in seconds.
        """
        self._clock = clock
        self._scheduler = engine.scheduler
        self._stepper = Stepper(
            engine, lambda outputs: self._call(self._deliver, outputs), free_memory, clock
        )
        self._restart_delays = restart_delays
        self._thread: threading.Thread | None = None
        self._asyncio: asyncio.AbstractEventLoop | None = None
        self._changed: Callable[[], None] = lambda: None
        self._health = EngineHealth(EngineState.STOPPED)
        self._streams: dict[tuple[str, int], TokenStream] = {}
        self._no_streams = asyncio.Event()
        self._no_streams.set()
        self._accepting = False
        self._stopping = False
        self._restart: asyncio.TimerHandle | None = None
        self._restarts = 0
        self._progress_at_restart = 0
        self._promised = 0.0

    @property
    def health(self) -> EngineHealth:
        """Whether it generates; from any thread."""
        return self._health

    def start(
        self, loop: asyncio.AbstractEventLoop, changed: Callable[[], None] = lambda: None
    ) -> None:
        """Start the thread; outputs arrive on `loop`, where `changed` tells of another health."""
        self._asyncio = loop
        self._changed = changed
        self._accepting = True
        self._health = EngineHealth(EngineState.RUNNING)
        self._start_thread(None)

    def submit(self, sequence: Sequence) -> TokenStream:
        """Queue a sequence and return the stream of its outputs.

        Raises:
            InvalidRequest: the prompt is empty, or the sequence is there already.
            ContextTooLong: the prompt leaves no room for one token.
            Overloaded: the queue is full; `retry_after` says when a place is free again.
            Unavailable: the engine is draining or has stopped.
        """
        if not self._accepting:
            msg = "this worker takes no more requests"
            raise Unavailable(msg)
        if sequence.key in self._streams:
            msg = f"request {sequence.request_id} runs already"
            raise InvalidRequest(msg)
        try:
            self._scheduler.check(sequence, self._outstanding(sequence.priority))
        except Overloaded as refusal:
            refusal.retry_after = self._retry_after()
            raise
        stream = self._streams[sequence.key] = TokenStream(sequence)
        self._no_streams.clear()
        self._stepper.send(sequence)
        return stream

    def abort(self, request_id: str) -> None:
        """End all choices of a request before the next step; unknown or ended is no fault."""
        self._stepper.send(request_id)

    async def drain(self) -> None:
        """Take no more sequences and return once all have ended."""
        self._accepting = False
        await self._no_streams.wait()

    async def stop(self) -> None:
        """End all sequences after the current step, and the thread."""
        self._accepting = False
        self._stopping = True
        self._stepper.stop()
        if self._restart is not None:
            self._restart.cancel()
            self._restart = None
            self._close(FinishReason.ABORT, EngineHealth(EngineState.STOPPED))
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    def last_step_age(self) -> float:
        """Seconds since the current step began, 0 when idle; from any thread."""
        return self._stepper.step_age()

    def stats(self) -> EngineStats:
        """Return the present state; from any thread."""
        running = len(self._scheduler.running)
        limits = self._scheduler.limits
        counts = self._stepper.counts
        return EngineStats(
            running=running,
            # Counted from the streams, so that what the thread has yet to take is in it.
            waiting=max(0, len(self._streams) - running),
            max_num_seqs=limits.max_num_seqs,
            kv_tokens_held=self._scheduler.kv_tokens_held,
            kv_tokens_used=self._scheduler.kv_tokens_used,
            kv_tokens_total=limits.kv_cache_tokens,
            steps=counts.steps,
            faults=counts.faults,
            preemptions=self._scheduler.preemptions,
            resumed=self._scheduler.resumed,
            prefix_queried_tokens=self._scheduler.prefixes.queried_tokens,
            prefix_reused_tokens=self._scheduler.prefixes.reused_tokens,
            drafted_tokens=self._scheduler.drafts.drafted_tokens,
            accepted_tokens=self._scheduler.drafts.accepted_tokens,
            tokens_generated=counts.tokens_generated,
            tokens_per_second=self._stepper.rate.tokens_per_second,
            prefill_tokens_per_second=self._stepper.rate.prefill_tokens_per_second,
            last_step_age=self.last_step_age(),
        )

    def beginnings(self) -> list[int]:
        """Return the numbers of what is kept for reuse, the newest last; from any thread."""
        return self._scheduler.prefixes.beginnings

    def _outstanding(self, priority: Priority) -> int:
        """Return how many unfinished sequences a new one of that priority comes after."""
        return sum(stream.sequence.priority <= priority for stream in self._streams.values())

    def _retry_after(self) -> float:
        """Return after how many seconds there is a place for one more who was refused.

        The first comes free when a running sequence ends, and then one by one as the tokens that
        are left are generated, at the rate that was measured. Each who is refused is told of a
        place of his own.
        """
        now = self._clock()
        first, each = self._seconds_to_places()
        wait = max(first, max(0.0, self._promised - now) + each)
        wait = min(max(wait, _MIN_RETRY_AFTER), _MAX_RETRY_AFTER)
        self._promised = now + wait
        return wait

    def _seconds_to_places(self) -> tuple[float, float]:
        """Return the seconds until a running sequence ends, and those between two ends."""
        rate = self._stepper.rate

        def left(sequences: list[Sequence]) -> list[float]:
            return [rate.tokens_left(len(s.output_ids), s.remaining) for s in sequences]

        running = left(list(self._scheduler.running))
        unfinished = left([stream.sequence for stream in self._streams.values()])
        tokens_per_second = max(1.0, rate.tokens_per_second)
        first = min(running, default=0.0) * len(running) / tokens_per_second
        return first, sum(unfinished) / len(unfinished) / tokens_per_second

    def _start_thread(self, recovered: Callable[[], None] | None) -> None:
        self._restart = None
        self._progress_at_restart = self._stepper.counts.progress
        self._thread = threading.Thread(
            target=self._run, args=(recovered,), name="engine", daemon=True
        )
        self._thread.start()

    def _run(self, recovered: Callable[[], None] | None) -> None:
        """Be the engine's thread; however it ends, the event loop hears of it."""
        fault = "its thread ended"
        try:
            self._stepper.run(recovered)
            fault = ""
        except Exception as raised:
            # One of the three broad excepts: whatever a step raises, the next request works.
            log.exception("engine_failed", running=len(self._scheduler.running))
            fault = f"{type(raised).__name__}: {raised}"
        finally:
            self._call(self._ended, fault)

    def _ended(self, fault: str) -> None:
        """Decide what follows the end of the thread."""
        if self._stepper.counts.progress > self._progress_at_restart:
            self._restarts = 0
        if self._stopping or not fault:
            self._close(FinishReason.ABORT, EngineHealth(EngineState.STOPPED))
        elif self._restarts == len(self._restart_delays):
            self._close(FinishReason.ERROR, EngineHealth(EngineState.FAILED, fault))
        else:
            assert self._asyncio is not None
            delay = self._restart_delays[self._restarts]
            self._restarts += 1
            self._become(EngineHealth(EngineState.RESTARTING, fault))
            recovered = lambda: self._call(self._become, EngineHealth(EngineState.RUNNING))  # noqa: E731
            self._restart = self._asyncio.call_later(delay, self._start_thread, recovered)

    def _become(self, health: EngineHealth) -> None:
        self._health = health
        log.info("engine", state=health.state.value, reason=health.reason)
        self._changed()

    def _call(self, callback: Callable[[T], None], argument: T) -> None:
        """Run the callback on the event loop, in one wake-up."""
        if self._asyncio is not None and not self._asyncio.is_closed():
            self._asyncio.call_soon_threadsafe(callback, argument)

    def _deliver(self, outputs: list[StepOutput]) -> None:
        for output in outputs:
            key = output.request_id, output.choice
            self._streams[key].push(output)
            if output.finish_reason is not None:
                del self._streams[key]
        if not self._streams:
            self._no_streams.set()

    def _close(self, reason: FinishReason, health: EngineHealth) -> None:
        """End what is left when there is no thread any more; nobody waits for ever."""
        self._accepting = False
        self._deliver([StepOutput(*key, None, reason) for key in self._streams])
        self._become(health)
