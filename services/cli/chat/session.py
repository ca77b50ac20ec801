"""A chat session: one conversation, its model and settings, and what the commands do to them.

Owns the meaning of every command. Prints nothing and reads no key: a command returns what to
say and whether the model is to be asked now.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.cli.chat import saved
from services.cli.chat.commands import (
    COMMANDS,
    Command,
    CommandRefused,
    Question,
    help_text,
    known_command,
)
from services.cli.chat.conversation import Conversation
from services.cli.chat.parameters import PARAMETERS, ParameterRefused, parameter_value
from services.cli.chat.source import Source

OFF = "off"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a line came to: what to say, and what to do next."""

    notice: str = ""
    ask: bool = False
    leave: bool = False


@dataclass(slots=True)
class ChatSession:
    """The state of one interactive chat."""

    source: Source
    model: str
    conversation: Conversation = field(default_factory=Conversation)
    parameters: dict[str, object] = field(default_factory=dict[str, object])
    show_stats: bool = True

    def body(self) -> dict[str, Any]:
        """Return the request that asks the conversation's last question."""
        messages = self.conversation.as_openai()
        return {"model": self.model, "messages": messages, **self.parameters}

    async def run(self, line: Question | Command) -> Outcome:
        """Do what a line says.

        Raises:
            CommandRefused: it cannot be done; nothing has changed.
            LLMZooError: the source failed.
        """
        if isinstance(line, Question):
            self.conversation.ask(line.text)
            return Outcome(ask=True)
        if line.name == "model":
            return await self._model(line.argument)
        return self._commands()[line.name](line.argument)

    def _commands(self) -> Mapping[str, Callable[[str], Outcome]]:
        return {
            "help": _help,
            "system": self._system,
            "set": self._set,
            "retry": self._retry,
            "undo": self._undo,
            "clear": self._clear,
            "save": self._save,
            "load": self._load,
            "stats": self._stats,
            "exit": lambda _: Outcome(leave=True),
        }

    async def _model(self, name: str) -> Outcome:
        served = await self.source.models()
        if not name:
            marked = [("* " if model == self.model else "  ") + model for model in served]
            return Outcome("\n".join(marked) or "No model is served now.")
        if name not in served:
            msg = f"There is no model {name!r}. There are: {', '.join(served) or 'none now'}."
            raise CommandRefused(msg)
        self.model = name
        return Outcome(f"The model is {name} now.")

    def _system(self, text: str) -> Outcome:
        if not text:
            return Outcome(self.conversation.system or "There is no system message.")
        self.conversation.system = "" if text == OFF else text
        return Outcome("System message dropped." if text == OFF else "System message set.")

    def _set(self, argument: str) -> Outcome:
        name, _, text = argument.partition(" ")
        text = text.strip()
        if not name:
            return Outcome("\n".join(self._setting(known) for known in PARAMETERS))
        if name not in PARAMETERS:
            msg = f"There is no setting {name!r}. There are: {', '.join(PARAMETERS)}."
            raise CommandRefused(msg)
        if text == OFF:
            self.parameters.pop(name, None)
        elif text:
            try:
                self.parameters[name] = parameter_value(name, text)
            except ParameterRefused as fault:
                raise CommandRefused(str(fault)) from None
        return Outcome(self._setting(name))

    def _setting(self, name: str) -> str:
        if name in self.parameters:
            return f"{name} = {json.dumps(self.parameters[name], ensure_ascii=False)}"
        return f"{name} is left to the server ({PARAMETERS[name].possible})"

    def _retry(self, _: str) -> Outcome:
        if not self.conversation.retry():
            msg = "There is no question yet."
            raise CommandRefused(msg)
        return Outcome(ask=True)

    def _undo(self, _: str) -> Outcome:
        if not self.conversation.undo():
            msg = "There is no question to forget."
            raise CommandRefused(msg)
        return Outcome("The last question is forgotten.")

    def _clear(self, _: str) -> Outcome:
        self.conversation.clear()
        return Outcome("The conversation is forgotten.")

    def _save(self, argument: str) -> Outcome:
        name, _, word = argument.rpartition(" ")
        overwrite = word == "overwrite" and bool(name.strip())
        path = _path("save", name.strip() if overwrite else argument)
        if not self.conversation.as_openai():
            msg = "There is nothing to save yet."
            raise CommandRefused(msg)
        chat = saved.SavedChat(self.model, self.conversation, self.parameters)
        try:
            saved.write(path, chat, overwrite=overwrite)
        except saved.FileRefused as fault:
            raise CommandRefused(str(fault)) from None
        return Outcome(f"Saved as {path}.")

    def _load(self, argument: str) -> Outcome:
        path = _path("load", argument)
        try:
            chat = saved.read(path)
        except saved.FileRefused as fault:
            raise CommandRefused(str(fault)) from None
        self.model = chat.model
        self.conversation = chat.conversation
        self.parameters = dict(chat.parameters)
        count = len(self.conversation.messages)
        return Outcome(f"Loaded {count} messages with the model {self.model}.")

    def _stats(self, argument: str) -> Outcome:
        if argument and argument not in {"on", OFF}:
            msg = f"/stats takes on or off, not {argument!r}."
            raise CommandRefused(msg)
        self.show_stats = argument == "on" if argument else not self.show_stats
        return Outcome(f"Figures after each answer: {'on' if self.show_stats else 'off'}.")


def _help(argument: str) -> Outcome:
    if not argument:
        return Outcome(help_text())
    syntax = COMMANDS[known_command(argument.removeprefix("/"))]
    return Outcome(f"{syntax.usage}  {syntax.help}")


def _path(command: str, argument: str) -> Path:
    if not argument:
        msg = f"A file's name is missing: {COMMANDS[command].usage}"
        raise CommandRefused(msg)
    return Path(argument).expanduser()
