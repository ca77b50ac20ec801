"""The prompt: history, editing over several lines, completion of commands and models.

Owns keys and completion. What a line means is `commands`' affair.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from pathlib import Path
from typing import Protocol

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.output import create_output

from services.cli.chat.commands import COMMANDS
from services.cli.chat.interrupts import Interrupted
from services.cli.chat.parameters import PARAMETERS
from services.cli.chat.session import OFF
from shared.errors import LLMZooError

_MODELS_SECONDS = 0.3
_PROMPT = FormattedText([("bold", "> ")])
_CONTINUED = "  "
_OWNER_ONLY = 0o600


class Terminal(Protocol):
    """Where lines come from."""

    async def read(self) -> str:
        """Return what was typed.

        Raises:
            Interrupted: Ctrl-C. EOFError: Ctrl-D on an empty line.
        """
        ...


class PromptTerminal:
    """A prompt on the terminal that stdin is."""

    def __init__(self, history_file: Path, models: Callable[[], Awaitable[list[str]]]) -> None:
        """Prepare the prompt.

        Args:
            history_file: where lines are remembered; unusable: they are for this chat only.
            models: asked for the names that complete `/model`.
        """
        # The prompt belongs to the person: a redirected stdout gets none of it.
        output = create_output(stdout=sys.stdout if sys.stdout.isatty() else sys.stderr)
        self._session: PromptSession[str] = PromptSession(
            history=_history(history_file),
            completer=ChatCompleter(models),
            complete_while_typing=False,
            multiline=True,
            key_bindings=_keys(),
            prompt_continuation=_CONTINUED,
            output=output,
        )

    async def read(self) -> str:
        """Return what was typed; raises as the protocol says."""
        try:
            # SIGINT is the caller's: in the prompt's raw mode Ctrl-C is a key like others.
            return await self._session.prompt_async(_PROMPT, handle_sigint=False)
        except KeyboardInterrupt:
            raise Interrupted from None


class ChatCompleter(Completer):
    """Completes what stands behind a slash."""

    def __init__(self, models: Callable[[], Awaitable[list[str]]]) -> None:
        """Ask `models` for the names that complete `/model`."""
        self._models = models
        self._known: list[str] = []

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        """Complete from what is known without asking."""
        text = document.text_before_cursor
        if not text.startswith("/") or text.startswith("//"):
            return
        command, space, argument = text[1:].partition(" ")
        if not space:
            yield from _matching(COMMANDS, command)
        elif command in {"save", "load"}:
            inner = Document(argument)
            yield from PathCompleter(expanduser=True).get_completions(inner, complete_event)
        else:
            yield from _matching(self._arguments(command), argument)

    async def get_completions_async(
        self, document: Document, complete_event: CompleteEvent
    ) -> AsyncGenerator[Completion]:
        """Complete, with the models that are served now if they are told soon enough."""
        if document.text_before_cursor.startswith("/model "):
            try:
                async with asyncio.timeout(_MODELS_SECONDS):
                    self._known = await self._models()
            except (TimeoutError, LLMZooError):
                pass  # the names known before are better than none
        for completion in self.get_completions(document, complete_event):
            yield completion

    def _arguments(self, command: str) -> Iterable[str]:
        return {
            "help": COMMANDS,
            "model": self._known,
            "set": PARAMETERS,
            "stats": ("on", OFF),
            "system": (OFF,),
        }.get(command, ())


def _matching(words: Iterable[str], start: str) -> Iterable[Completion]:
    return (Completion(word, -len(start)) for word in words if word.startswith(start))


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter")
    def send(event: KeyPressEvent) -> None:  # pyright: ignore[reportUnusedFunction]
        event.current_buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def start_line(event: KeyPressEvent) -> None:  # pyright: ignore[reportUnusedFunction]
        event.current_buffer.insert_text("\n")

    return keys


def _history(file: Path) -> History:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=_OWNER_ONLY)
    except OSError:
        return InMemoryHistory()
    return FileHistory(file)
