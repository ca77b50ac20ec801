"""What a chat shows, and how it looks as plain text.

An answer goes to stdout, everything else to stderr, so that a redirected stdout holds answers
alone. How it looks on a terminal with colours is in `rich_rendering`, which takes longer to import.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, TextIO

from services.cli.chat.text import for_terminal


class AnswerView(Protocol):
    """Where the pieces of one answer go."""

    def add(self, piece: str) -> None:
        """Show one more piece."""
        ...

    def reconnecting(self) -> None:
        """Show that the answer's connection is lost and sought, until the next piece comes."""
        ...


class Display(Protocol):
    """What a chat shows."""

    def answer(self) -> AbstractContextManager[AnswerView]:
        """Open the view of one answer; leaving it ends the answer's last line."""
        ...

    def notice(self, text: str) -> None:
        """Show what a command says."""
        ...

    def fault(self, text: str) -> None:
        """Show what went wrong."""
        ...

    def figures(self, text: str) -> None:
        """Show the figures of an answer."""
        ...


class PlainDisplay:
    """Text without any escape sequence."""

    def __init__(self, out: TextIO, err: TextIO) -> None:
        """Answers go to `out`, the rest to `err`."""
        self._out = out
        self._err = err

    @contextmanager
    def answer(self) -> Generator[AnswerView]:
        """Write the pieces as they come."""
        view = _PlainAnswer(self._out, self)
        try:
            yield view
        finally:
            view.end()

    def notice(self, text: str) -> None:
        """Write a line."""
        print(self._safe(text, self._err), file=self._err, flush=True)

    def fault(self, text: str) -> None:
        """Write a line that says it is an error."""
        self.notice(f"error: {text}")

    def figures(self, text: str) -> None:
        """Write a line in brackets."""
        self.notice(f"[{text}]")

    @staticmethod
    def _safe(text: str, stream: TextIO) -> str:
        return for_terminal(text) if stream.isatty() else text


class _PlainAnswer:
    def __init__(self, out: TextIO, display: PlainDisplay) -> None:
        self._out = out
        self._display = display
        # A pipe gets the answer unchanged, a terminal only what it may show.
        self._filter = out.isatty()
        self._open_line = False

    def add(self, piece: str) -> None:
        if self._filter:
            piece = for_terminal(piece)
        if piece:
            self._out.write(piece)
            self._out.flush()
            self._open_line = not piece.endswith("\n")

    def reconnecting(self) -> None:
        if self._filter:
            self.end()
        self._display.figures("reconnecting")

    def end(self) -> None:
        if self._open_line:
            self._open_line = False
            self._out.write("\n")
            self._out.flush()
