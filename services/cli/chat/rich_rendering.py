"""A chat on a terminal: markdown that grows, colours.

Owns colours and layout.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from services.cli.chat.markdown import answer_markdown, split_final
from services.cli.chat.rendering import AnswerView
from services.cli.chat.text import for_terminal

_REFRESHES_PER_SECOND = 8
_RECONNECTING = Text("reconnecting …", style="dim")


class RichDisplay:
    """Live markdown and colours; without colours where NO_COLOR is set, as rich has it."""

    def __init__(self, console: Console) -> None:
        """Show on `console`."""
        self._console = console

    @contextmanager
    def answer(self) -> Generator[AnswerView]:
        """Show the text as markdown while it grows; what came stays when the answer breaks off."""
        view = _RichAnswer(self._console)
        try:
            with Live(
                get_renderable=view.growing,
                console=self._console,
                refresh_per_second=_REFRESHES_PER_SECOND,
                transient=True,
            ):
                yield view
        finally:
            view.end()

    def notice(self, text: str) -> None:
        """Show a line in the terminal's own colour."""
        self._console.print(Text(for_terminal(text)), soft_wrap=True)

    def fault(self, text: str) -> None:
        """Show a red line."""
        self._console.print(Text(for_terminal(f"error: {text}"), style="red"), soft_wrap=True)

    def figures(self, text: str) -> None:
        """Show a dim line."""
        self._console.print(Text(text, style="dim"), soft_wrap=True)


class _RichAnswer:
    """Prints blocks that are final for good and keeps only the last one live.

    So the live part stays shorter than the screen, and what scrolled away is whole.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._waiting = Spinner("dots")
        self._text = ""
        self._reconnecting = False

    def add(self, piece: str) -> None:
        self._reconnecting = False
        self._text += for_terminal(piece)
        if "\n" in piece:
            final, self._text = split_final(self._text)
            if final:
                self._console.print(answer_markdown(final))
                self._console.print()

    def reconnecting(self) -> None:
        self._reconnecting = True

    def growing(self) -> RenderableType:
        growing = answer_markdown(self._text) if self._text else self._waiting
        return Group(growing, _RECONNECTING) if self._reconnecting else growing

    def end(self) -> None:
        if self._text.strip():
            self._console.print(answer_markdown(self._text))
