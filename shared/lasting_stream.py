"""One streamed answer that outlives its connections.

Owns when a lost connection is replaced, and for how long that is tried. The next one goes on
after the last event id that came, so that nothing is missing and nothing comes twice. Knows
neither HTTP nor what is asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing
from typing import Generic, Protocol, TypeVar

from shared.errors import LLMZooError, MalformedAnswer, UpstreamFailed
from shared.received_events import ReceivedEvents

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

QUIET_SECONDS = 1.0
"""After so many seconds without a connection, whoever waits is told."""
MOST_LOSSES = 6
"""Connections in a row that may bring nothing new."""

_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 0.5


class Connection(Protocol[T_co]):
    """Brings an answer's events; whoever has it closes it."""

    def pieces(self) -> AsyncGenerator[bytes]:
        """Yield bytes as they come.

        Raises:
            UpstreamFailed: it is lost. UpstreamTimeout: it is silent.
        """
        ...

    def read(self, data: bytes) -> T_co:
        """Return what an event says; raises LLMZooError where it is an error, or nonsense."""
        ...

    async def close(self) -> None:
        """Give it back."""
        ...


Connect = Callable[[str], Awaitable[Connection[T]]]
"""Asks for what follows this event id, empty for the beginning; raises LLMZooError."""


class LastingStream(Generic[T]):
    """Iterate `items` once."""

    def __init__(self, connect: Connect[T], patience: float) -> None:
        """Prepare; nothing is asked yet.

        Args:
            connect: opens the first connection, and those in its place.
            patience: seconds for which a lost connection is replaced; 0: none is.
        """
        self._connect = connect
        self._patience = patience
        self._received = ReceivedEvents[T]()
        self._connection: Connection[T] | None = None
        self._lost: UpstreamFailed | None = None
        self._place = ""
        self._losses = 0
        self._pauses = _pauses()

    async def items(self) -> AsyncGenerator[T | None]:
        """Yield what the events say, and None for each connection that is long in coming.

        Raises:
            LLMZooError: the answer ended in an error, or its connection could not be replaced.
        """
        try:
            self._connection = await self._connect("")
            while True:
                async with aclosing(self._until_lost(self._connection)) as items:
                    async for item in items:
                        yield item
                if self._lost is None:
                    return
                async with aclosing(self._replace(self._lost)) as waiting:
                    async for _ in waiting:
                        yield None
        except LLMZooError:
            for item in self._received.held():
                yield item
            raise
        finally:
            await self._close()

    async def _until_lost(self, connection: Connection[T]) -> AsyncGenerator[T]:
        """Yield what `connection` brings until the answer ends or the connection is `_lost`."""
        self._lost = None
        try:
            async with aclosing(connection.pieces()) as pieces:
                async for piece in pieces:
                    for item in self._received.take(piece, connection.read):
                        yield item
                    if self._received.done:
                        return
            self._lost = UpstreamFailed("The answer broke off before its end.")
        except ValueError as fault:
            raise MalformedAnswer("The answer is no stream of events.") from fault
        except UpstreamFailed as fault:
            # What was no answer would be none again.
            if not fault.retryable:
                raise
            self._lost = fault
        finally:
            await self._close()

    async def _replace(self, lost: UpstreamFailed) -> AsyncGenerator[None]:
        """Replace the connection that was `lost`; yield once if that takes long."""
        trying = asyncio.create_task(self._come_back(lost), name="coming back")
        try:
            await asyncio.wait({trying}, timeout=QUIET_SECONDS)
            if not trying.done():
                yield None
            fault = await trying
        finally:
            trying.cancel()
            await asyncio.wait({trying})
        if fault is not None:
            raise fault

    async def _come_back(self, lost: UpstreamFailed) -> UpstreamFailed | None:
        """Try until there is a connection; return why there will be none."""
        place = self._received.place
        if not place or not self._patience:
            return lost
        if place != self._place:
            self._place, self._losses, self._pauses = place, 0, _pauses()
        self._losses += 1
        if self._losses > MOST_LOSSES:
            return _given_up(lost, "It breaks off again and again.")
        why = "Nobody answers in time."
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._patience):
                for pause in self._pauses:
                    await asyncio.sleep(pause)
                    try:
                        self._connection = await self._connect(place)
                    except LLMZooError as fault:
                        why = fault.message
                        if not fault.retryable:
                            break
                    else:
                        self._received.reconnected()
                        return None
        return _given_up(lost, why)

    async def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


def _given_up(lost: UpstreamFailed, why: str) -> UpstreamFailed:
    return UpstreamFailed(f"{lost.message} Coming back for the rest failed: {why}")


def _pauses() -> Iterator[float]:
    """Yield seconds to wait before each try; many clients lose their connections at once."""
    longest = _FIRST_PAUSE
    while True:
        yield longest * random.uniform(0.5, 1)  # noqa: S311 - no secret
        longest = min(2 * longest, _LONGEST_PAUSE)
