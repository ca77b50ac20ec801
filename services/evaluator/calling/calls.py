"""Calls to models through the controller: batch work, paced by model, retried, counted.

Owns the way of one call: its Idempotency-Key (made of its content alone, so that a call repeated
after a crash, or by another run, is known as the same), the bound on calls in flight, its tries,
and what its reply cost. Does not know what is asked.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson

from services.evaluator.calling.lane import Lane
from services.evaluator.calling.pace import Ticket
from services.evaluator.calling.retries import RetryPolicy, is_refusal
from services.evaluator.calling.tariff import Tariff
from shared.client import Answer
from shared.errors import InvalidRequest, LLMZooError, UpstreamTimeout

_MOST_LANES = 256


class ChatClient(Protocol):
    """What is asked of a client."""

    async def chat(self, body: bytes, key: str) -> Answer:
        """Return the answer to a chat request under an Idempotency-Key; raises LLMZooError."""
        ...


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model answered."""

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    model_version: str
    """The model and its fingerprint as its server told them."""
    logprobs: list[Any] | None
    """The entries of `choices[0].logprobs.content`, if the server told any."""
    cost_usd: float
    seconds: float | None = field(default=None, compare=False)
    """How long its server took; None: it is the answer of an earlier call."""
    repeats: int = 0
    """How often the controller may have made the call before, and got no answer of it."""


class Calls:
    """Makes the calls of all runs of this evaluator."""

    def __init__(
        self,
        client: ChatClient,
        tariff: Tariff,
        *,
        concurrency: int,
        policy: RetryPolicy,
        timeout: float,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Allow `concurrency` calls in flight, and `timeout` seconds for each try of one.

        A call that waits for its model's pace or for its next try is not in flight.
        """
        self.in_flight = 0
        self._client = client
        self._tariff = tariff
        self._concurrency = concurrency
        self._places = asyncio.Semaphore(concurrency)
        self._policy = policy
        self._timeout = timeout
        self._sleep = sleep
        self._lanes: dict[str, Lane] = {}

    async def ask(self, body: dict[str, Any], *, salt: str = "") -> Reply:
        """Return the reply to a chat request; cancelling closes the connection.

        Args:
            body: the request. Its bytes are what is sent and what its key is made of.
            salt: tells calls with the same body apart, such as the repeats of a review.

        Raises:
            LLMZooError: the last failure, when it is not retryable or the tries are used up.
        """
        content = _encoded(body)
        key = call_key(content, salt)
        await self._tariff.look()
        answer, seconds = await self._tried(str(body.get("model")), content, key)
        return self._reply(body, answer, seconds)

    async def _tried(self, model: str, content: bytes, key: str) -> tuple[Answer, float]:
        """Return the answer, after as many tries as the policy allows, and how long the last took."""
        lane = self._lane(model)
        clock = asyncio.get_running_loop().time
        failures = 0
        refused_at = 0.0
        again = False
        while True:
            ticket = await lane.enter(ahead=again)
            try:
                return await self._try(lane, ticket, content, key)
            except LLMZooError as fault:
                failures += not is_refusal(fault)
                if not self._policy.again(fault, failures):
                    raise
                refused = is_refusal(fault)
                refused_at = refused_at or clock()
                if refused and clock() - refused_at > self._policy.patience:
                    raise
            again = True
            if not refused:
                await self._sleep(self._policy.pause(failures))

    async def _try(
        self, lane: Lane, ticket: Ticket, content: bytes, key: str
    ) -> tuple[Answer, float]:
        """Make the call once, and tell the lane how it ended."""
        ended = False
        clock = asyncio.get_running_loop().time
        try:
            async with self._places:
                self.in_flight += 1
                begun = clock()
                try:
                    async with asyncio.timeout(self._timeout):
                        answer = await self._client.chat(content, key)
                    seconds = clock() - begun
                except TimeoutError:
                    msg = f"There was no answer within {self._timeout:g} seconds."
                    raise UpstreamTimeout(msg) from None
                finally:
                    self.in_flight -= 1
            ended = True
            lane.succeed(ticket)
        except LLMZooError as fault:
            ended = True
            self._tell(lane, ticket, fault)
            raise
        else:
            return answer, seconds
        finally:
            if not ended:
                lane.withdraw(ticket)

    def _tell(self, lane: Lane, ticket: Ticket, fault: LLMZooError) -> None:
        """Tell a lane of a failure; a pause that no call would sit out is not the lane's either."""
        wish = fault.retry_after
        waited_for = (wish or 0) <= self._policy.longest_wish
        if not fault.retryable or not waited_for:
            lane.withdraw(ticket)
        elif is_refusal(fault):
            lane.refuse(ticket, wish)
        else:
            lane.fail(ticket, wish)

    def _lane(self, model: str) -> Lane:
        lane = self._lanes.get(model)
        if lane is None:
            if len(self._lanes) >= _MOST_LANES:
                self._lanes = {name: each for name, each in self._lanes.items() if not each.idle}
            lane = self._lanes[model] = Lane(self._concurrency)
        return lane

    def _reply(self, body: dict[str, Any], answer: Answer, seconds: float) -> Reply:
        """Return a reply; tokens that the server does not tell are guessed from the texts."""
        model = str(body.get("model"))
        used = self._tariff.used(body, answer)
        version = answer.model
        if answer.system_fingerprint:
            version = f"{version}@{answer.system_fingerprint}"
        return Reply(
            answer.text,
            answer.finish_reason,
            used.prompt_tokens,
            used.completion_tokens,
            version,
            answer.logprobs,
            self._tariff.cost(model, used.prompt_tokens, used.completion_tokens),
            None if answer.replayed else seconds,
            answer.repeats,
        )


def call_key(content: bytes, salt: str = "") -> str:
    """Return the key of a call: a hash of its bytes and its salt."""
    hashed = hashlib.sha256(content)
    if salt:
        # JSON holds no zero byte, so no body with a salt is another body.
        hashed.update(b"\0" + salt.encode())
    return "eval-" + hashed.hexdigest()


def _encoded(body: dict[str, Any]) -> bytes:
    """Return a body's bytes; the order of its fields stays, since a schema's order has a meaning.

    Raises:
        InvalidRequest: it cannot be written as JSON.
    """
    try:
        return orjson.dumps(body)
    except TypeError as fault:
        msg = f"The request cannot be written as JSON: {fault}."
        raise InvalidRequest(msg) from None
