"""A source of answers that a test scripts, and a terminal and a display that it can read."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Any

from shared.client import Answer, Delta
from shared.errors import LLMZooError

Step = Delta | LLMZooError | Callable[[], Awaitable[None]]


def says(*pieces: str, finish_reason: str = "stop") -> list[Step]:
    return [*(Delta(piece) for piece in pieces), Delta(finish_reason=finish_reason)]


class ScriptedSource:
    """Answers by scripts, one a request; a step that is a function is called in its place."""

    def __init__(self, *scripts: Iterable[Step], models: Iterable[str] = ("one", "two")) -> None:
        self._scripts = list(scripts)
        self._models = list(models)
        self.asked: list[dict[str, Any]] = []
        self.closed = 0

    async def models(self) -> list[str]:
        return self._models

    async def stream(self, body: dict[str, Any]) -> AsyncGenerator[Delta]:
        self.asked.append(body)
        try:
            for step in self._scripts.pop(0):
                if isinstance(step, LLMZooError):
                    raise step
                if isinstance(step, Delta):
                    yield step
                else:
                    await step()
        finally:
            self.closed += 1

    async def complete(self, body: dict[str, Any]) -> Answer:
        text = ""
        async for delta in self.stream(body):
            text += delta.text
        return Answer(text, "stop", {"completion_tokens": 3}, "req-1")


class ScriptedTerminal:
    """Types its lines; a line that is an exception is raised."""

    def __init__(self, *lines: str | BaseException) -> None:
        self._lines = list(lines)

    async def read(self) -> str:
        line = self._lines.pop(0) if self._lines else EOFError()
        if isinstance(line, BaseException):
            raise line
        return line

    @property
    def left(self) -> int:
        return len(self._lines)


class RecordingDisplay:
    """Keeps what is shown, as (kind, text)."""

    def __init__(self) -> None:
        self.shown: list[tuple[str, str]] = []

    @contextmanager
    def answer(self) -> Generator[RecordingDisplay]:
        self.shown.append(("answer", ""))
        yield self

    def add(self, piece: str) -> None:
        kind, text = self.shown[-1]
        self.shown[-1] = (kind, text + piece)

    def reconnecting(self) -> None:
        self.shown[-1:-1] = [("reconnecting", self.shown[-1][1])]

    def notice(self, text: str) -> None:
        self.shown.append(("notice", text))

    def fault(self, text: str) -> None:
        self.shown.append(("fault", text))

    def figures(self, text: str) -> None:
        self.shown.append(("figures", text))

    def of(self, kind: str) -> list[str]:
        return [text for shown, text in self.shown if shown == kind]
