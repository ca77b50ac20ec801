"""All looks at once, their findings in order, within a bounded time.

Owns threads, the time limit, and what becomes of a look that breaks down. Knows none of them.
"""

from __future__ import annotations

import queue
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from services.cli.doctor.check import Check, fail, warn

T = TypeVar("T")


class Once(Generic[T]):
    """A value that several looks need: the first one finds it, the others wait for that."""

    def __init__(self, find: Callable[[], T]) -> None:
        self._find = find
        self._lock = threading.Lock()
        self._found: list[T] = []

    def __call__(self) -> T:
        """Return the value; raises what the finding raises."""
        with self._lock:
            if not self._found:
                self._found.append(self._find())
            return self._found[0]


@dataclass(frozen=True, slots=True)
class Look:
    """One or more findings on a subject; `ask` may block and runs in a thread of its own."""

    subject: str
    ask: Callable[[], Iterable[Check]]


def examine(looks: Sequence[Look], seconds: float) -> Iterator[Check]:
    """Yield the findings of all looks in their order; takes `seconds` at most.

    A look that has not ended by then is left behind, and one that raises is a finding itself.
    """
    deadline = time.monotonic() + seconds
    for each in [_Running(look) for look in looks]:
        yield from each.findings(deadline, seconds)


@dataclass(slots=True)
class _Running:
    look: Look
    found: queue.SimpleQueue[Check | None] = field(default_factory=queue.SimpleQueue[Check | None])

    def __post_init__(self) -> None:
        # A daemon: one that hangs in the kernel must not hold the program.
        threading.Thread(target=self._run, name=self.look.subject, daemon=True).start()

    def findings(self, deadline: float, seconds: float) -> Iterator[Check]:
        while True:
            try:
                check = self.found.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                told = f"no end of this check within {seconds:g} seconds"
                yield warn(self.look.subject, told, "look whether what it asks hangs; run it again")
                return
            if check is None:
                return
            yield check

    def _run(self) -> None:
        try:
            for check in self.look.ask():
                self.found.put(check)
        except Exception as fault:  # noqa: BLE001 - a fault of one look must not hide the others
            place = traceback.extract_tb(fault.__traceback__)[-1]
            told = f"this check broke down: {type(fault).__name__}: {fault}"
            at = f"{place.filename}:{place.lineno}"
            self.found.put(fail(self.look.subject, told, f"report it as a bug, with {at}"))
        finally:
            self.found.put(None)
