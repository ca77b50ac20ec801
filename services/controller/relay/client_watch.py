"""Ending what is done for a client that has gone, whatever it waits for."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from shared.http.body import ClientGone
from shared.http.departure import Departure


class ClientWatch:
    """A context that is left by ClientGone as soon as the client goes.

    As `asyncio.timeout` does, it cancels the task it runs in and turns that one cancellation
    into its own exception; a cancellation from elsewhere passes.
    """

    __slots__ = ("_cancelling", "_departure", "_gone", "_task")

    def __init__(self, departure: Departure) -> None:
        """Watch for it."""
        self._departure = departure
        self._gone = False
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0

    async def __aenter__(self) -> Self:
        """Start watching."""
        self._task = asyncio.current_task()
        assert self._task is not None
        self._cancelling = self._task.cancelling()
        self._departure.tell(self._leave)
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
        self._departure.forget(self._leave)
        assert self._task is not None
        ours = self._gone and self._task.uncancel() <= self._cancelling
        if ours and isinstance(fault, asyncio.CancelledError):
            raise ClientGone from fault

    def _leave(self) -> None:
        assert self._task is not None
        self._gone = True
        self._task.cancel()
