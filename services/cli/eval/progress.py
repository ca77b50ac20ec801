"""A run's progress on a terminal or in a log.

Owns what is drawn and when a line is written. Asks nobody.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TextIO

from services.cli.chat.text import for_terminal
from services.cli.eval import wording
from services.cli.eval.pace import Pace
from services.cli.failures import one_line
from shared.errors import LLMZooError
from shared.protocol.evals.run import Run

if TYPE_CHECKING:
    from rich.live import Live
    from rich.progress import Progress as Bars

_QUIET_SECONDS = 30.0


class View(Protocol):
    """What a watched run is shown on."""

    def show(self, run: Run) -> None:
        """Show how it is doing now."""
        ...

    def say(self, text: str) -> None:
        """Show a line that stays."""
        ...

    def lost(self, fault: LLMZooError) -> None:
        """Show that nobody answers at present."""
        ...


class Lines:
    """Writes a line at each new status, each tenth of the way, and each half minute."""

    def __init__(self, stream: TextIO) -> None:
        """Write to `stream`."""
        self._stream = stream
        self._pace = Pace()
        self._last: tuple[str, int] | None = None
        self._written = 0.0
        self._lost = False

    def show(self, run: Run) -> None:
        """Write a line if there is something new to say."""
        now = time.monotonic()
        pace = self._pace.see(now, _units(run))
        whole = run.progress.total + run.progress.answers_total
        step = (run.status.value, 10 * _units(run) // whole if whole else 0)
        self._lost = False
        if step != self._last or now - self._written >= _QUIET_SECONDS:
            self._last, self._written = step, now
            self.say(wording.progress_line(run, pace))

    def say(self, text: str) -> None:
        """Write a line."""
        self._stream.write(f"{for_terminal(text)}\n")
        self._stream.flush()

    def lost(self, fault: LLMZooError) -> None:
        """Write so once."""
        if not self._lost:
            self._lost = True
            self.say(f"waiting: {one_line(fault)}")


class Drawn:
    """Draws a bar of the answers, one of the reviews, and a line beneath."""

    def __init__(self, live: Live, bars: Bars) -> None:
        """Draw on `live`, the bars on `bars`."""
        self._live = live
        self._bars = bars
        self._pace = Pace()
        self._answers = bars.add_task("answers", total=None)
        self._items = bars.add_task("reviews", total=None)

    def show(self, run: Run) -> None:
        """Move the bars."""
        progress = run.progress
        pace = self._pace.see(time.monotonic(), _units(run))
        self._bars.update(
            self._answers,
            completed=progress.answered,
            total=progress.answers_total,
            visible=progress.answers_total > 0,
        )
        self._bars.update(
            self._items,
            description=wording.items_word(run),
            completed=progress.done,
            total=progress.total,
        )
        self._under(" · ".join([run.status.value, *wording.side_notes(run, pace)]))

    def say(self, text: str) -> None:
        """Write a line above the bars."""
        self._live.console.print(for_terminal(text), markup=False, highlight=False)

    def lost(self, fault: LLMZooError) -> None:
        """Say so under the bars."""
        self._under(f"waiting: {one_line(fault)}")

    def _under(self, text: str) -> None:
        from rich.console import Group  # noqa: PLC0415 - see `shown_on`
        from rich.text import Text  # noqa: PLC0415

        self._live.update(Group(self._bars, Text(for_terminal(text), style="dim")), refresh=True)


@contextmanager
def shown_on(stream: TextIO) -> Generator[View]:
    """Yield a view on `stream`: drawn on a terminal, lines elsewhere."""
    if not stream.isatty():
        yield Lines(stream)
        return
    # As long to import as everything else together.
    from rich.console import Console  # noqa: PLC0415
    from rich.live import Live  # noqa: PLC0415
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
    )

    bars = Progress(
        TextColumn("{task.description:<8}"), BarColumn(), MofNCompleteColumn(), TaskProgressColumn()
    )
    with Live(console=Console(file=stream), auto_refresh=False) as live:
        yield Drawn(live, bars)


def _units(run: Run) -> int:
    return run.progress.answered + run.progress.done
