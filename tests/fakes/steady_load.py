"""Requests one after the other, on a few lines at once, with what became of each."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from statistics import quantiles

import httpx

from tests.fakes.chat_request import BODY, CHAT


class SteadyLoad:
    """Codes and durations in seconds since it began, or since `forget` was called."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.codes: list[int] = []
        self.seconds: list[float] = []
        self._client = client

    @contextlib.asynccontextmanager
    async def running(self, lines: int) -> AsyncIterator[None]:
        stop = asyncio.Event()
        tasks = [asyncio.create_task(self._ask(stop)) for _ in range(lines)]
        try:
            yield
        finally:
            stop.set()
            await asyncio.gather(*tasks)

    def take_p99(self) -> float:
        """Return the 99th percentile of the durations so far, and begin anew with them."""
        taken, self.seconds = self.seconds, []
        return quantiles(taken, n=100)[-1]

    async def _ask(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            began = time.perf_counter()
            response = await self._client.post(CHAT, json=BODY)
            self.seconds.append(time.perf_counter() - began)
            self.codes.append(response.status_code)
