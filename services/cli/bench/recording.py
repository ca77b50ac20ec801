"""A recording: the samples of one load, the time they took and the processor time of this process.

Owns warm-up: what it gives is kept apart, and only its faults are told.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

from services.cli.bench.load import Ask, ClosedLoop, Load
from services.cli.bench.sample import Sample


@dataclass(slots=True)
class Recording:
    """Measures while its context is open; also when Ctrl-C closes it."""

    name: str
    count_steps: Callable[[], int] | None = None
    """The steps of the engine so far, where it can be asked."""
    warm_up: list[Sample] = field(default_factory=list[Sample])
    samples: list[Sample] = field(default_factory=list[Sample])
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    steps: int = 0

    def __enter__(self) -> Self:
        """Start the clocks."""
        self._add(-1)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the clocks."""
        self._add(1)

    @property
    def cpu_share(self) -> float:
        """Cores that this process kept busy."""
        return self.cpu_seconds / self.seconds if self.seconds else 0.0

    @property
    def steps_per_second(self) -> float | None:
        """Steps of the engine, where they are counted."""
        if self.count_steps is None:
            return None
        return self.steps / self.seconds if self.seconds else 0.0

    async def record(self, load: Load, warm_up: ClosedLoop, ask: Ask) -> None:
        """Warm up, then measure."""
        await warm_up.run(ask, self.warm_up)
        with self:
            await load.run(ask, self.samples)

    def _add(self, sign: int) -> None:
        used = resource.getrusage(resource.RUSAGE_SELF)
        self.seconds += sign * time.perf_counter()
        self.cpu_seconds += sign * (used.ru_utime + used.ru_stime)
        if self.count_steps is not None:
            self.steps += sign * self.count_steps()
