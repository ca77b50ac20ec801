"""The lines a person types: a question, or a command behind a slash.

Owns the names of the commands and their syntax. What they do is in `session`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from services.cli.chat.text import from_terminal


class CommandRefused(Exception):
    """A line that cannot be done; the text says what can."""


@dataclass(frozen=True, slots=True)
class Question:
    """A text for the model."""

    text: str


@dataclass(frozen=True, slots=True)
class Command:
    """A command's name without the slash, and the rest of the line."""

    name: str
    argument: str


@dataclass(frozen=True, slots=True)
class Syntax:
    """How a command is written, and what it does."""

    usage: str
    help: str


COMMANDS: Mapping[str, Syntax] = {
    "help": Syntax("/help [COMMAND]", "show the commands, or one of them"),
    "model": Syntax("/model [NAME]", "show the models, or go on with another one"),
    "system": Syntax("/system [TEXT|off]", "show, set or drop the system message"),
    "set": Syntax("/set [NAME [VALUE|off]]", "show the settings, set one, or drop it"),
    "retry": Syntax("/retry", "ask the last question again"),
    "undo": Syntax("/undo", "forget the last question and its answer"),
    "clear": Syntax("/clear", "forget the conversation; system message and settings stay"),
    "save": Syntax("/save FILE [overwrite]", "write conversation, model and settings as JSON"),
    "load": Syntax("/load FILE", "go on with a saved conversation"),
    "stats": Syntax("/stats [on|off]", "show the line of figures after each answer, or not"),
    "exit": Syntax("/exit", "leave"),
}
_ALIASES = {"quit": "exit", "bye": "exit", "?": "help"}


def parse_line(line: str) -> Question | Command:
    """Return what a line means; one that starts with two slashes is a text with one.

    Raises:
        CommandRefused: there is no such command.
    """
    line = from_terminal(line).strip()
    if line.startswith("//"):
        return Question(line[1:])
    if not line.startswith("/"):
        return Question(line)
    word = re.match(r"/(\S*)", line)
    assert word is not None
    return Command(known_command(word[1]), line[word.end() :].strip())


def known_command(word: str) -> str:
    """Return the name of the command that `word` means.

    Raises:
        CommandRefused: there is no such command.
    """
    name = _ALIASES.get(word.lower(), word.lower())
    if name in COMMANDS:
        return name
    close = get_close_matches(name, COMMANDS, n=1)
    guess = f" Did you mean /{close[0]}?" if close else ""
    there = " ".join(f"/{known}" for known in COMMANDS)
    msg = (
        f"There is no command /{word}.{guess} There are: {there}. "
        "For a text that starts with a slash, write two."
    )
    raise CommandRefused(msg)


def help_text() -> str:
    """Return all commands, and the keys, as aligned lines."""
    width = max(len(syntax.usage) for syntax in COMMANDS.values())
    lines = [f"{syntax.usage.ljust(width)}  {syntax.help}" for syntax in COMMANDS.values()]
    keys = (
        "Enter sends, Alt+Enter starts a new line, Tab completes, Up and Down recall.\n"
        "Ctrl-C stops an answer; twice at the prompt, or Ctrl-D, leaves.\n"
        "A text that starts with // is sent with one slash."
    )
    return "\n".join([*lines, "", keys])
