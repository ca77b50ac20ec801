"""What a person sees of the supervisor: the services' lines, its own, and the announcement.

Owns prefixes and colours. Log lines go to stderr and the announcement to stdout, so that
`llmzoo up 2> zoo.log` leaves the announcement alone. `rich` decides about colour: none when
piped or when NO_COLOR is set.
"""

from __future__ import annotations

from typing import IO

import rich.console
from rich.text import Text

OWN_NAME = "zoo"
NARROWEST_PREFIX = len("controller")
OWN_STYLE = "bold"
STYLES = ("cyan", "green", "magenta", "yellow", "blue", "bright_cyan", "bright_green", "bright_red")


class _Stream(rich.console.Console):
    """A stream that goes silent when nobody reads it any more, rather than end the zoo."""

    def on_broken_pipe(self) -> None:
        self.quiet = True

    def write_line(self, text: Text) -> None:
        try:
            self.print(text, soft_wrap=True)
        except OSError:  # the terminal is gone
            self.quiet = True


class Console:
    """The two streams of the supervisor; None means the process's own."""

    def __init__(self, log: IO[str] | None = None, out: IO[str] | None = None) -> None:
        """Write lines to `log` and the announcement to `out`."""
        self._log = _Stream(file=log, stderr=True)
        self._out = _Stream(file=out)
        self._styles: dict[str, str] = {OWN_NAME: OWN_STYLE}

    @property
    def is_terminal(self) -> bool:
        """Whether a person reads the log lines as they come."""
        return self._log.is_terminal

    def say(self, text: str, name: str = OWN_NAME) -> None:
        """Write one line of the supervisor's own, about the service `name` or the whole."""
        self._line(name, Text(text, style="bold"))

    def error(self, text: str) -> None:
        """Write why the supervisor does not go on."""
        self._line(OWN_NAME, Text(text, style="bold red"))

    def relay(self, name: str, line: str) -> None:
        """Write a line that the service `name` wrote, with its colours where they are wanted."""
        self._line(name, Text.from_ansi(line))

    def announce(self, lines: list[str]) -> None:
        """Write the announcement, ready to be copied: no prefix, no colour, no wrapping."""
        for line in lines:
            self._out.write_line(Text(line))

    def _line(self, name: str, text: Text) -> None:
        prefix = Text(f"{name:<{NARROWEST_PREFIX}} | ", style=self._style(name))
        for line in text.split("\n", allow_blank=True):
            self._log.write_line(prefix + line)

    def _style(self, name: str) -> str:
        return self._styles.setdefault(name, STYLES[(len(self._styles) - 1) % len(STYLES)])
