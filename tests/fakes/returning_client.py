"""A client that comes back: it asks several controllers in turn until its answer is whole.

A stream that breaks off goes on with `Last-Event-ID`; before the first id, and for an answer that
was wanted whole, the request is made anew.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import orjson

from tests.bench.gateway.wire import BROKEN, Target, Wire
from tests.fakes.event_log import EventLog
from tests.fakes.mixed_requests import Asking
from tests.fakes.transcripts import (
    Differences,
    Transcript,
    differences,
    expected,
    of_body,
    of_events,
)

_PAUSE_SECONDS = 0.02
_LATER = frozenset({429, 502, 503})


class _HeadedWire(Wire):
    """A connection that keeps the answer's headers too."""

    def __init__(self) -> None:
        super().__init__()
        self.headers: dict[str, str] = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode().lower()] = value.decode()


@dataclass
class Told:
    """One answer, and what it took to get it."""

    asking: Asking
    log: EventLog = field(default_factory=EventLog)
    body: bytes = b""
    status: int = 0
    losses: int = 0
    """How often a connection ended before the answer did."""
    refusals: Counter[int] = field(default_factory=Counter[int])
    continued: int = 0
    """How often the server said that it goes on with an answer."""

    @property
    def transcript(self) -> Transcript:
        streamed = self.asking.stream and self.status == 200
        return of_events(self.log.events) if streamed else of_body(self.body)

    @property
    def differences(self) -> Differences:
        """Return what is not as it would have been undisturbed."""
        told = self.transcript
        return differences(told, expected(self.asking, told.answer_id))


class ReturningClient:
    """Asks at `targets`, the n-th request at the n-th of them first."""

    def __init__(
        self,
        targets: Sequence[Target],
        headers: dict[str, str] | None = None,
        *,
        tries: int = 1,
        patience: float = 30.0,
    ) -> None:
        self._targets = targets
        self._headers = headers or {}
        self._tries = tries
        self._patience = patience

    async def ask(self, asking: Asking) -> Told:
        """Return when the answer is whole, or cannot become so."""
        (told,) = await self.ask_all([Told(asking)])
        return told

    async def ask_all(self, answers: Sequence[Told]) -> Sequence[Told]:
        """Ask for all of these at once; each can be looked at while it comes."""
        async with asyncio.timeout(self._patience), asyncio.TaskGroup() as group:
            for turn, told in enumerate(answers):
                group.create_task(self._ask(told, turn))
        return answers

    async def _ask(self, told: Told, turn: int) -> None:
        for each in range(turn, turn + self._tries):
            if each > turn:
                await asyncio.sleep(_PAUSE_SECONDS)
            if await self._try(told, self._targets[each % len(self._targets)]):
                break

    async def _try(self, told: Told, target: Target) -> bool:
        """Ask once; return whether there is nothing more to come."""
        headers = dict(self._headers)
        if told.log.last_id:
            headers["last-event-id"] = told.log.last_id
        try:
            wire = await _HeadedWire.open(target)
        except OSError:
            told.losses += 1
            return False
        body = bytearray()

        def take(piece: bytes, now: float) -> None:
            if told.asking.stream and wire.status == 200:
                told.log.feed(piece, now)
            else:
                body.extend(piece)

        try:
            content = orjson.dumps(told.asking.body).decode()
            answer = await wire.exchange(
                target.request("POST", told.asking.path, headers, content), take
            )
        finally:
            wire.close()
        told.status, told.body = answer.code, bytes(body)
        told.continued += wire.headers.get("x-llmzoo-continued") == "1"
        whole = told.log.ended if told.asking.stream else True
        if answer.code == BROKEN or (answer.code == 200 and not whole):
            told.losses += 1
            told.log.lose()
            return False
        if answer.code in _LATER:
            told.refusals[answer.code] += 1
            return False
        return True
