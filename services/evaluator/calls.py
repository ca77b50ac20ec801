"""Calls to models through the controller: bounded, marked as batch work, retried.

Owns the idempotency key (made of the call's content alone, so that a call repeated after a
crash, or by another run, is known as the same), the bound on calls in flight and the retries.
Does not know what is asked.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from shared.client import Answer
from shared.errors import LLMZooError
from shared.protocol.priority import PRIORITY_HEADER, Priority


class ChatClient(Protocol):
    """What is asked of a client."""

    async def chat(self, body: dict[str, Any], headers: dict[str, str] | None = None) -> Answer:
        """Return one whole answer; raises LLMZooError."""
        ...


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a call is tried, and how many seconds lie between two tries."""

    attempts: int = 7
    first_pause: float = 0.5
    longest_pause: float = 15.0
    longest_wish: float = 120.0
    """A server that wants a longer pause is not waited for."""

    def pause(self, attempt: int, wish: float | None) -> float | None:
        """Return the seconds to wait after `attempt` (counted from 1), or None: give up.

        The pause doubles from try to try and loses up to half of it at random, so that calls
        which failed together do not come back together; `wish` is the server's Retry-After.
        """
        if attempt >= self.attempts or (wish or 0) > self.longest_wish:
            return None
        longest = min(self.first_pause * 2 ** (attempt - 1), self.longest_pause)
        return longest * random.uniform(0.5, 1) + (wish or 0)  # noqa: S311 - no secret


class Calls:
    """Makes the calls of all runs of this evaluator over one client."""

    def __init__(
        self,
        client: ChatClient,
        concurrency: int,
        policy: RetryPolicy,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Allow `concurrency` calls in flight; a call that waits for its retry is in none."""
        self._client = client
        self._places = asyncio.Semaphore(concurrency)
        self._policy = policy
        self._sleep = sleep

    async def ask(self, body: dict[str, Any]) -> Answer:
        """Return the answer to a chat request; cancelling closes the connection.

        Raises:
            LLMZooError: the last failure, when it is not retryable or the tries are used up.
        """
        headers = {"idempotency-key": call_key(body), PRIORITY_HEADER: Priority.BATCH.name.lower()}
        attempt = 0
        while True:
            attempt += 1
            try:
                async with self._places:
                    return await self._client.chat(body, headers)
            except LLMZooError as fault:
                pause = self._policy.pause(attempt, fault.retry_after)
                if pause is None or not fault.retryable:
                    raise
            await self._sleep(pause)


def call_key(body: dict[str, Any]) -> str:
    """Return the key of a call: a hash of its content."""
    content = orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
    return "eval-" + hashlib.sha256(content).hexdigest()
