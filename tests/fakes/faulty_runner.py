"""A runner that fails when it is told to, and an engine's thread that is run by the test itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from services.worker.engine.engine import Engine, StepOutput
from services.worker.engine.scheduler import Chunk
from services.worker.engine.sequence import Drawn, Sequence
from services.worker.engine.slots import Group, RowOp
from services.worker.engine.stepper import Stepper
from tests.fakes.engines import Answers


class StepFault(Exception):
    """No prompt brings it, as far as a runner can tell."""


class FaultyRunner:
    """Any runner; its calls are counted, and some fail.

    Attributes:
        faults: by number of the call: whether it fails once all is done, or before anything is.
        fatal: whether a step fails for a sequence that is in it.
        together: what was in the steps, by request id.
    """

    def __init__(self, runner: Any) -> None:
        self.inner = runner
        self.calls = 0
        self.faults: dict[int, bool] = {}
        self.fatal: Callable[[Sequence], bool] = lambda _: False
        self.together: list[set[str]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def apply(self, ops: Iterable[RowOp]) -> None:
        if ops := tuple(ops):
            self._call(lambda: self.inner.apply(ops))

    def run(
        self, groups: tuple[Group, ...], chunks: tuple[Chunk, ...]
    ) -> dict[Sequence, list[Drawn]]:
        stepping = {sequence for group in groups for sequence in group.sequences}
        stepping |= {chunk.sequence for chunk in chunks}
        self.together.append({sequence.request_id for sequence in stepping})
        if any(map(self.fatal, stepping)):
            raise StepFault
        return self._call(lambda: self.inner.run(groups, chunks))

    def release(self, sequence: Sequence) -> None:
        self._call(lambda: self.inner.release(sequence))

    def reset(self) -> None:
        self._call(self.inner.reset)

    def _call(self, do: Callable[[], Any]) -> Any:
        self.calls += 1
        late = self.faults.pop(self.calls, None)
        if late is False:
            raise StepFault
        done = do()
        if late:
            raise StepFault
        return done


class Steps:
    """Runs an engine to the end, however often a step fails, as the loop's threads do."""

    def __init__(self, engine: Engine, most_faults: int = 100) -> None:
        self.answers = Answers()
        self.stepper = Stepper(engine, self._take, lambda: None)
        self._most_faults = most_faults
        self._coming: list[tuple[int, Sequence | str]] = []
        self._unfinished = 0
        self._steps = 0

    def run(self, coming: Iterable[tuple[int, Sequence | str]]) -> Answers:
        """Run sequences that come, and aborts that do, before these steps."""
        self._coming = sorted(coming, key=lambda each: each[0])
        self._send()
        recovered = None
        while True:
            try:
                self.stepper.run(recovered)
            except StepFault:
                assert self.stepper.counts.faults <= self._most_faults, "faults come to an end"
                recovered = lambda: None  # noqa: E731
            else:
                return self.answers

    def _take(self, outputs: list[StepOutput]) -> None:
        for output in outputs:
            self.answers.outputs.setdefault(output.request_id, []).append(output)
            self._unfinished -= output.finish_reason is not None
        self._steps += 1
        self._send()

    def _send(self) -> None:
        while self._coming and (not self._unfinished or self._coming[0][0] <= self._steps):
            _, command = self._coming.pop(0)
            self._unfinished += isinstance(command, Sequence)
            self.stepper.send(command)
        if not self._unfinished:
            self.stepper.stop()
