"""A run: one load after the other, until all are done or Ctrl-C.

Owns what Ctrl-C leaves behind and the exit code. Knows no server and no engine.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from services.cli.bench.load import Ask, ClosedLoop, Load
from services.cli.bench.recording import Recording
from services.cli.bench.sample import Outcome
from services.cli.chat.interrupts import Interrupted, Interruptible
from services.cli.failures import ExitCode

Loads = Sequence[tuple[Load, ClosedLoop]]
"""Each with its warm-up."""


@dataclass(slots=True)
class Run:
    """What was measured; `interrupted` when Ctrl-C came before all was."""

    recordings: list[Recording] = field(default_factory=list[Recording])
    interrupted: bool = False

    @property
    def exit_code(self) -> ExitCode:
        """A run in which no request was completed has measured nothing: a failure."""
        if self.interrupted:
            return ExitCode.INTERRUPTED
        samples = [sample for recording in self.recordings for sample in recording.samples]
        good = any(sample.outcome is Outcome.COMPLETED for sample in samples)
        return ExitCode.OK if good else ExitCode.FAILURE


async def run_loads(loads: Loads, ask: Ask, count_steps: Callable[[], int] | None = None) -> Run:
    """Measure every load, with a line on stderr when it starts."""
    run = Run()
    with Interruptible() as interruptible:
        try:
            await interruptible.run(_measure(loads, ask, count_steps, run.recordings))
        except Interrupted:
            run.interrupted = True
    return run


async def _measure(
    loads: Loads,
    ask: Ask,
    count_steps: Callable[[], int] | None,
    recordings: list[Recording],
) -> None:
    for load, warm_up in loads:
        print(f"load {load.name} ...", file=sys.stderr, flush=True)
        recording = Recording(load.name, count_steps)
        recordings.append(recording)
        await recording.record(load, warm_up, ask)
