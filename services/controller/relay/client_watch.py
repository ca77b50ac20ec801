"""Noticing that a client has gone while its answer is being made.

Owns the reading of `http.disconnect`: uvicorn's `send` tells nothing of it. Ends what runs in
its context, whatever that waits for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from starlette.types import Message, Receive

from shared.http.body import ClientGone


class ClientWatch:
    """A context that is left by ClientGone as soon as the client goes.

    As `asyncio.timeout` does, it cancels the task it runs in and turns that one cancellation
    into its own exception; a cancellation from elsewhere passes.
    """

    def __init__(
        self, receive: Receive, take: Callable[[Message], Awaitable[None]] | None = None
    ) -> None:
        """Watch `receive`, once the request's body was read from it.

        Or before that: `take` is then given the messages of the body, one after the other, and
        must not raise.
        """
        self._receive = receive
        self._take = take
        self._gone = False
        self._task: asyncio.Task[object] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._cancelling = 0

    async def __aenter__(self) -> Self:
        """Start watching."""
        self._task = asyncio.current_task()
        assert self._task is not None
        self._cancelling = self._task.cancelling()
        self._watcher = asyncio.create_task(self._watch(self._task))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop watching.

        Raises:
            ClientGone: the client went.
        """
        assert self._task is not None
        assert self._watcher is not None
        self._watcher.cancel()
        ours = self._gone and self._task.uncancel() <= self._cancelling
        if ours and isinstance(fault, asyncio.CancelledError):
            raise ClientGone from fault

    async def _watch(self, task: asyncio.Task[object]) -> None:
        while (message := await self._receive())["type"] != "http.disconnect":
            if self._take is not None:
                await self._take(message)
        self._gone = True
        task.cancel()
