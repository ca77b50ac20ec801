"""The engine's thread: commands in, one step after another, outputs out.

Owns what runs on that thread, what it counts, and that a fault takes nothing with it. Whether there
is a next thread after a fault is the caller's. Knows no asyncio, no tensor.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from services.worker.engine.engine import Engine, StepOutput
from services.worker.engine.out_of_memory import OUT_OF_MEMORY
from services.worker.engine.restart import try_out
from services.worker.engine.sequence import FinishReason, Sequence, SequenceKey
from services.worker.engine.token_rate import TokenRate

log = structlog.get_logger(__name__)

Deliver = Callable[[list[StepOutput]], None]


@dataclass(slots=True)
class Counts:
    """What has happened so far; written by the engine's thread, each read as a whole.

    `recoveries` are trials that went well after steps which failed for the sequences in them.
    """

    steps: int = 0
    faults: int = 0
    recoveries: int = 0
    tokens_generated: int = 0

    @property
    def progress(self) -> int:
        """What tells an engine that goes on from one that fails whatever is done.

        Each recovery counts: it brings the quarantine nearer to who is to blame.
        """
        return self.steps + self.recoveries


class Stepper:
    """Steps an engine while there is something to do, on the thread that calls `run`."""

    def __init__(
        self,
        engine: Engine,
        deliver: Deliver,
        free_memory: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the engine over.

        Args:
            engine: nothing else may touch it from here on.
            deliver: called with the outputs of each step.
            free_memory: called after a fault, once all rows are free, and where a prompt has
                failed for want of memory.
            clock: in seconds.
        """
        self._engine = engine
        self._clock = clock
        self._deliver = deliver
        self._free_memory = free_memory
        self.counts = Counts()
        self.rate = TokenRate()
        # Shared with the callers of `send` and `stop`, under the condition's lock.
        self._wakeup = threading.Condition()
        self._commands: deque[Sequence | str] = deque()
        self._stopping = False
        self._unfinished: dict[SequenceKey, Sequence] = {}
        self._step_started: float | None = None

    def send(self, command: Sequence | str) -> None:
        """Hand over a sequence, or the id of a request to be aborted; from any thread."""
        with self._wakeup:
            self._commands.append(command)
            self._wakeup.notify()

    def stop(self) -> None:
        """Let `run` return after the current step; from any thread."""
        with self._wakeup:
            self._stopping = True
            self._wakeup.notify()

    def step_age(self) -> float:
        """Seconds since the current step began, 0 when idle; from any thread."""
        started = self._step_started
        return 0.0 if started is None else self._clock() - started

    def run(self, recovered: Callable[[], None] | None) -> None:
        """Step until told to stop.

        Args:
            recovered: given after a fault: the engine is tried first, and this called if it works.

        Raises:
            Exception: whatever a step raises; the next thread may go on with what is unfinished.
        """
        try:
            if recovered is not None:
                self._recover()
                recovered()
            while self._has_commands():
                self._step()
        except Exception:
            self.counts.faults += 1
            raise
        finally:
            self._step_started = None

    def _has_commands(self) -> bool:
        """Sleep until there is work; False means stop."""
        with self._wakeup:
            while not (self._stopping or self._commands or self._engine.has_work):
                self._step_started = None
                self._wakeup.wait()
            if self._stopping:
                return False
        self._step_started = self._clock()
        return True

    def _step(self) -> None:
        # No more than there are now: what comes meanwhile belongs to the next step.
        for _ in range(len(self._commands)):
            command = self._commands.popleft()
            if isinstance(command, str):
                self._engine.abort(command)
            else:
                self._unfinished[command.key] = command
                self._engine.add(command)
        started = self._clock()
        prefilled = self._engine.prefilled_tokens
        outputs = self._engine.step()
        tokens = sum(output.token_id is not None for output in outputs)
        self.counts.steps += 1
        self.counts.tokens_generated += tokens
        if any(output.error == OUT_OF_MEMORY for output in outputs):
            self._free_memory()
        prefilled = self._engine.prefilled_tokens - prefilled
        self.rate.count_step(tokens, self._clock() - started, prefilled)
        # After the counting: who has the last token finds it counted.
        self._hand_out(outputs)

    def _hand_out(self, outputs: list[StepOutput]) -> None:
        for output in outputs:
            if output.finish_reason is not None:
                ended = self._unfinished.pop((output.request_id, output.choice))
                if output.finish_reason in {FinishReason.STOP, FinishReason.LENGTH}:
                    self.rate.count_end(len(ended.output_ids))
        self._deliver(outputs)

    def _recover(self) -> None:
        """Let what ran wait with what did, and try the engine before any of it goes on."""
        self._step_started = self._clock()
        ran = bool(self._engine.scheduler.running)
        # Of a trial that failed something may be left, which nobody waits for.
        told = [o for o in self._engine.recall() if (o.request_id, o.choice) in self._unfinished]
        self._hand_out(told)
        failed = [o.request_id for o in told if o.finish_reason is FinishReason.ERROR]
        log.warning("sequences_recalled", failed=failed, unfinished=len(self._unfinished))
        self._free_memory()
        for outputs in try_out(self._engine):
            self._hand_out(outputs)
        self.counts.recoveries += ran
