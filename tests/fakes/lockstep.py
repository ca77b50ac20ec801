"""An engine loop that waits for its reader, so that each token comes in a frame of its own."""

from __future__ import annotations

import threading
from dataclasses import replace

from services.worker.engine.loop import EngineLoop
from services.worker.served_model import ServedModel


class LockstepLoop(EngineLoop):
    """Steps only after the test has read every token there is; at first it is free to run."""

    def __init__(self, engine) -> None:
        super().__init__(engine)
        self._turn = threading.Condition()
        self._free = True
        self._drawn = self._read = 0

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

    def _next_commands(self):
        # Before the commands are taken: what the reader's tokens led to (an abort) is among them.
        with self._turn:
            self._turn.wait_for(lambda: self._free or self._read >= self._drawn)
        return super()._next_commands()

    def _advance(self, commands):
        outputs = super()._advance(commands)
        with self._turn:
            self._drawn += sum(output.token_id is not None for output in outputs)
        return outputs


def in_lockstep(served: ServedModel) -> ServedModel:
    """Return the same model, not started yet, with such a loop."""
    return replace(served, loop=LockstepLoop(served.loop._engine))
