"""How far long work on a model is: one event type, and two ways to show it to a person.

Owns the stages and their wording. Knows none of the work. rich is imported for a terminal only.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID


class Stage(StrEnum):
    """What is done; of a model on its way into memory the steps, in their order."""

    WAITING = "waiting"  # another process is fetching the same model
    DOWNLOADING = "downloading"
    UNPACKING = "unpacking"
    READING = "reading"  # what a file says of itself, before its weights
    CONVERTING = "converting"
    SAVING = "saving"
    LOADING = "loading"  # where a model begins that is already there
    COMPRESSING = "compressing"
    JUDGING = "judging"  # a text is read to judge what compression cost


@dataclass(frozen=True, slots=True)
class Progress:
    """One event: `done` of `total` bytes of a stage; `total` 0 means not known."""

    stage: Stage
    done: int = 0
    total: int = 0

    @property
    def fraction(self) -> float | None:
        """Return the done part of this stage in [0, 1], None where the total is not known."""
        return min(self.done / self.total, 1.0) if self.total else None

    @property
    def percent(self) -> int | None:
        """Return the done part of this stage in whole per cent, None as `fraction` has it."""
        return min(self.done * 100 // self.total, 100) if self.total else None

    def __str__(self) -> str:
        """Return the wording for the heartbeat, such as `downloading 43 %`."""
        return self.stage.value if self.percent is None else f"{self.stage.value} {self.percent} %"


ProgressCallback = Callable[[Progress], None]


def ignore_progress(_: Progress) -> None:
    """Show nothing, for callers that have nobody to show it to."""


Report = Callable[[int, int], None]
"""Called with what is done and what there is in all, as a rule in bytes."""


def report_nothing(_done: int, _total: int) -> None:
    """Show nothing, for callers that have nobody to show it to."""


def bytes_of(stage: Stage, report: ProgressCallback) -> Report:
    """Return what reports `done` of `total` bytes of a stage."""
    return lambda done, total: report(Progress(stage, done, total))


class PlainLines:
    """Writes one line for each tenth of a stage, for logs and pipes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._last: tuple[Stage, int] | None = None

    def __call__(self, progress: Progress) -> None:
        """Write a line if `progress` entered another stage or another tenth of it."""
        step = (progress.stage, (progress.percent or 0) // 10)
        if step == self._last:
            return
        self._last = step
        self._stream.write(f"{progress}\n")
        self._stream.flush()


class BarLines:
    """Draws a bar a stage, with bytes, speed and the time left, on a terminal."""

    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._tasks: dict[Stage, TaskID] = {}

    def __call__(self, progress: Progress) -> None:
        """Move the stage's bar, and finish those of the stages before it."""
        if progress.stage not in self._tasks:
            self._finish_open()
            self._tasks[progress.stage] = self._bar.add_task(progress.stage.value, total=None)
        total = progress.total or None
        self._bar.update(self._tasks[progress.stage], completed=progress.done, total=total)

    def _finish_open(self) -> None:
        for task in self._bar.tasks:
            if not task.finished:
                # A bar without a total would go on swinging: it is done, whatever its size was.
                size = task.total or task.completed or 1
                self._bar.update(task.id, completed=size, total=size)


@contextmanager
def shown_on(stream: TextIO) -> Generator[ProgressCallback]:
    """Yield a callback that shows progress on `stream`: bars on a terminal, else plain lines."""
    if not stream.isatty():
        yield PlainLines(stream)
        return
    with _bar(stream) as bar:
        yield BarLines(bar)


def _bar(stream: TextIO) -> Bar:
    from rich.console import Console  # noqa: PLC0415 - a third of the time of `llmzoo --help`
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    return Progress(
        TextColumn("{task.description:<12}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(file=stream),
    )
