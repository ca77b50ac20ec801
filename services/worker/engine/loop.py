"""The engine loop: the thread that steps the engine, and its border to asyncio.

Owns the thread, the way of sequences in and of tokens out, and what survives a failed step.
Knows no tensor and no HTTP. All methods run on the event loop's thread, or on any thread
where they say so.
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
from services.worker.engine.stream import TokenStream
from services.worker.engine_client import EngineStats
from shared.errors import InvalidRequest, Overloaded, Unavailable
from shared.protocol.priority import Priority

log = structlog.get_logger(__name__)

T = TypeVar("T")

_RATE_WEIGHT = 0.1
_MAX_RETRY_AFTER = 60.0


class EngineLoop:
    """Steps an engine in a thread of its own, while there is something to do."""

    def __init__(self, engine: Engine) -> None:
        """Take the engine over; nothing else may touch it from here on."""
        self._engine = engine
        self._scheduler = engine.scheduler
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._asyncio: asyncio.AbstractEventLoop | None = None
        # Shared by both threads, under the condition's lock.
        self._wakeup = threading.Condition()
        self._commands: list[Sequence | str] = []
        self._stopping = False
        # The event loop's own.
        self._streams: dict[tuple[str, int], TokenStream] = {}
        self._no_streams = asyncio.Event()
        self._no_streams.set()
        self._accepting = False
        # Written by the engine's thread alone; each is read as a whole.
        self._step_started: float | None = None
        self._steps = 0
        self._faults = 0
        self._tokens_generated = 0
        self._tokens_per_second = 0.0

    @property
    def alive(self) -> bool:
        """Whether the engine's thread runs; from any thread."""
        return self._thread.is_alive()

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the thread; outputs arrive on `loop`."""
        self._asyncio = loop
        self._accepting = True
        self._thread.start()

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
        stream = self._streams[sequence.key] = TokenStream(sequence.priority)
        self._no_streams.clear()
        self._send(sequence)
        return stream

    def abort(self, request_id: str) -> None:
        """End all choices of a request before the next step; unknown or ended is no fault."""
        self._send(request_id)

    async def drain(self) -> None:
        """Take no more sequences and return once all have ended."""
        self._accepting = False
        await self._no_streams.wait()

    async def stop(self) -> None:
        """End all sequences after the current step, and the thread."""
        self._accepting = False
        with self._wakeup:
            self._stopping = True
            self._wakeup.notify()
        if self.alive:
            await asyncio.to_thread(self._thread.join)

    def last_step_age(self) -> float:
        """Seconds since the current step began, 0 when idle; from any thread."""
        started = self._step_started
        return 0.0 if started is None else time.monotonic() - started

    def stats(self) -> EngineStats:
        """Return the present state; from any thread."""
        running = len(self._scheduler.running)
        limits = self._scheduler.limits
        return EngineStats(
            running=running,
            # Counted from the streams, so that what the thread has yet to take is in it.
            waiting=max(0, len(self._streams) - running),
            max_num_seqs=limits.max_num_seqs,
            kv_tokens_used=self._scheduler.kv_tokens_used,
            kv_tokens_total=limits.kv_cache_tokens,
            steps=self._steps,
            faults=self._faults,
            preemptions=self._scheduler.preemptions,
            prefix_queried_tokens=self._scheduler.prefixes.queried_tokens,
            prefix_reused_tokens=self._scheduler.prefixes.reused_tokens,
            tokens_generated=self._tokens_generated,
            tokens_per_second=self._tokens_per_second,
            last_step_age=self.last_step_age(),
        )

    def _outstanding(self, priority: Priority) -> int:
        """Return how many unfinished sequences a new one of that priority comes after."""
        return sum(stream.priority <= priority for stream in self._streams.values())

    def _retry_after(self) -> float:
        """Return the seconds after which a running sequence has ended at the latest."""
        running = max(1, len(self._scheduler.running))
        seconds_per_step = running / max(1.0, self._tokens_per_second)
        wait = self._scheduler.tokens_to_next_finish * seconds_per_step
        return min(max(1.0, wait), _MAX_RETRY_AFTER)

    def _send(self, command: Sequence | str) -> None:
        with self._wakeup:
            self._commands.append(command)
            self._wakeup.notify()

    def _run(self) -> None:
        reason = FinishReason.ERROR
        try:
            while (commands := self._next_commands()) is not None:
                self._call(self._deliver, self._advance(commands))
            reason = FinishReason.ABORT
        finally:
            self._call(self._close, reason)

    def _next_commands(self) -> list[Sequence | str] | None:
        """Sleep until there is work; None means stop."""
        with self._wakeup:
            while not (self._stopping or self._commands or self._engine.has_work):
                self._step_started = None
                self._wakeup.wait()
            if self._stopping:
                return None
            commands, self._commands = self._commands, []
        self._step_started = time.monotonic()
        return commands

    def _advance(self, commands: list[Sequence | str]) -> list[StepOutput]:
        for command in commands:
            if isinstance(command, str):
                self._engine.abort(command)
            else:
                self._engine.add(command)
        started = time.monotonic()
        try:
            outputs = self._engine.step()
        except Exception:
            # One of the three broad excepts: whatever a step raises, the next request works.
            log.exception("engine_step_failed", running=len(self._scheduler.running))
            self._faults += 1
            return self._engine.fail_running()
        self._count(outputs, time.monotonic() - started)
        return outputs

    def _count(self, outputs: list[StepOutput], seconds: float) -> None:
        tokens = sum(output.token_id is not None for output in outputs)
        self._steps += 1
        self._tokens_generated += tokens
        rate = tokens / max(seconds, 1e-6)
        weight = _RATE_WEIGHT if self._tokens_per_second else 1.0
        self._tokens_per_second += weight * (rate - self._tokens_per_second)

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

    def _close(self, reason: FinishReason) -> None:
        """End what is left when the thread ends; nobody waits for ever."""
        self._accepting = False
        self._deliver([StepOutput(*key, None, reason) for key in self._streams])
