"""An engine that waits for its reader, so that each token comes in a frame of its own."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

from services.worker.engine.engine import Engine, StepOutput
from services.worker.engine.loop import EngineLoop
from services.worker.served_model import ServedModel


class Gate:
    """Opens for the next step once all tokens were read; at first it stands open."""

    def __init__(self) -> None:
        self._turn = threading.Condition()
        self._free = True
        self._drawn = self._read = 0
        self._aborted: set[str] = set()

    def begin(self, unseen: int = 0) -> None:
        """Go step by step from now on; `unseen` tokens more are drawn than will be read."""
        with self._turn:
            self._free = False
            self._drawn, self._read = 0, unseen
            self._turn.notify()

    def read(self, tokens: int) -> None:
        with self._turn:
            self._read += tokens
            self._turn.notify()

    def run_free(self) -> None:
        with self._turn:
            self._free = True
            self._turn.notify()

    def abort(self, request_id: str) -> None:
        """Expect no reader for tokens of a request that ends, by a stop string for example."""
        with self._turn:
            self._aborted.add(request_id)

    def wait(self) -> None:
        with self._turn:
            self._turn.wait_for(lambda: self._free or self._read >= self._drawn)

    def count(self, outputs: list[StepOutput]) -> None:
        with self._turn:
            for output in outputs:
                if output.token_id is not None and output.request_id not in self._aborted:
                    self._drawn += 1


class LockstepEngine:
    """The engine that it is given, whose steps wait at the gate."""

    def __init__(self, engine: Engine, gate: Gate) -> None:
        self._engine = engine
        self._gate = gate

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def step(self) -> list[StepOutput]:
        self._gate.wait()
        outputs = self._engine.step()
        self._gate.count(outputs)
        return outputs


class LockstepLoop(EngineLoop):
    """The loop of such an engine; the gate hears at once what is aborted."""

    def __init__(self, engine: Engine) -> None:
        self.gate = Gate()
        super().__init__(LockstepEngine(engine, self.gate))

    def abort(self, request_id: str) -> None:
        self.gate.abort(request_id)
        super().abort(request_id)


def in_lockstep(served: ServedModel) -> tuple[ServedModel, Gate]:
    """Return the same model, not started yet, with such a loop."""
    loop = LockstepLoop(served.engine._stepper._engine)
    return replace(served, engine=loop), loop.gate
