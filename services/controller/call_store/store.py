"""The call store: a call with an Idempotency-Key is made once and its answer kept.

Owns how an answer comes about: found, waited for, taken over, or made here in a task that goes
on and is stored when every client has gone. Knows no HTTP: what makes the call is given to it,
and what a client is told is in the outcome.

A call that failed is not stored. Who waited for it on the same controller gets the same failure;
who waited on another one makes the call itself, since its turn has come. A holder that died is
noticed when its lease runs out, and whoever waits takes the call over. That it may have been made
twice then is told with the answer, and kept with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import replace

import structlog

from services.controller.background import end_all
from services.controller.call_store.archive import AnswerLost, Archive, NotKept
from services.controller.call_store.blobs import BlobFolder
from services.controller.call_store.claims import LEASE_SECONDS, Budget, Claim, Claims
from services.controller.call_store.connection import CallRedis, StoreAway
from services.controller.call_store.identity import HEADER, CallIdentity
from services.controller.call_store.metrics import CallStoreMetrics
from services.controller.call_store.outcome import Source, StoredOutcome, surely_unmade
from services.controller.call_store.running import RunningCall, RunningCalls
from services.controller.call_store.sweep import Sweep
from services.controller.relay.answer import Answer
from shared.errors import IdempotencyKeyReused, LLMZooError, Unavailable
from shared.protocol.stored_calls import REPEATED_HEADER
from shared.settings import ControllerSettings

log = structlog.get_logger(__name__)

Produce = Callable[[], Awaitable[Answer]]

_RETRY_AFTER = 2.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.5
_SECONDS_OF_DAY = 24 * 3600


class CallStore:
    """Makes every call once, however often and on how many controllers it is asked for."""

    def __init__(
        self,
        settings: ControllerSettings,
        metrics: CallStoreMetrics,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        """Prepare; nothing is connected or written before the first call."""
        budget = Budget(
            settings.call_store_days * _SECONDS_OF_DAY,
            settings.call_store_bytes,
            settings.call_store_blob_bytes,
        )
        blobs = BlobFolder(settings.call_store_dir)
        self._own_id = uuid.uuid4().hex
        self._redis = CallRedis(settings)
        self._claims = Claims(self._redis, budget, metrics, lease_seconds)
        self._archive = Archive(self._claims, blobs, budget)
        self._running = RunningCalls(metrics)
        self._metrics = metrics
        self._drain_timeout = settings.drain_timeout
        self._drained_at: float | None = None
        self.sweep = Sweep(self._redis, blobs, self._own_id, budget.ttl_seconds)

    async def answer(
        self, identity: CallIdentity, produce: Produce, *, required: bool
    ) -> StoredOutcome:
        """Return the call's answer; `produce` makes it, if nobody has and nobody does.

        Cancelling the caller ends neither `produce` nor the storing, so `produce` must touch
        nothing that is its caller's, `send` above all.

        Args:
            identity: which call it is.
            produce: makes the call; what it raises, and a status from 400 on, is not stored.
            required: refuse to make a call that could not be stored, since it costs money.

        Raises:
            IdempotencyKeyReused: the key was used for another request.
            Unavailable: Redis is away and `required`, or the service stops.
            Overloaded: too many calls are under way here.
            Exception: whatever `produce` raises.
        """
        call = self._running.find(identity.slot)
        if call is None:

            async def work(call: RunningCall) -> StoredOutcome:
                return await self._perform(call, produce, required=required)

            return await self._running.wait_for(self._running.begin(identity, work))
        if call.identity != identity:
            raise _reused()
        self._metrics.calls.labels("joined").inc()
        return replace(await self._running.wait_for(call), source=Source.JOINED)

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncGenerator[None]:
        """Renew claims and collect blobs for the time of the context.

        At its end running calls get `drain_timeout` seconds, counted from `drain` if that was
        called; then they are cancelled and their claims released.
        """
        background = {
            asyncio.create_task(self._claims.renew_forever(), name="call-claims"),
            asyncio.create_task(self.sweep.run_forever(), name="call-blobs"),
        }
        try:
            yield
        finally:
            began = time.monotonic() if self._drained_at is None else self._drained_at
            await self._running.finish(began + self._drain_timeout)
            await end_all(background)
            await self._redis.close()

    def drain(self) -> None:
        """Let the time that running calls get begin now; sets a flag only."""
        self._drained_at = time.monotonic()

    async def _perform(
        self, call: RunningCall, produce: Produce, *, required: bool
    ) -> StoredOutcome:
        claim = Claim(call.identity)
        try:
            found = await self._find_or_claim(call, claim)
        except StoreAway as fault:
            if required:
                msg = "The call store cannot be reached, and this call must not be made twice."
                raise Unavailable(msg, retry_after=_RETRY_AFTER) from fault
            self._metrics.unstored.labels("redis").inc()
            return StoredOutcome(await produce(), Source.FRESH, stored=False)
        if found is not None:
            return found
        async with self._claims.held(claim):
            answer = await self._made(claim, produce)
            stored = not answer.failed and await self._keep(claim, answer)
            return StoredOutcome(answer, Source.FRESH, stored)

    @staticmethod
    async def _made(claim: Claim, produce: Produce) -> Answer:
        """Return what `produce` brings, with how often it may have been made before."""
        try:
            answer = await produce()
        except LLMZooError as fault:
            claim.in_vain = surely_unmade(fault)
            raise
        claim.in_vain = answer.failed
        if answer.failed or not claim.repeats:
            return answer
        told = (REPEATED_HEADER, str(claim.repeats))
        return replace(answer, headers=(*answer.headers, told))

    async def _find_or_claim(self, call: RunningCall, claim: Claim) -> StoredOutcome | None:
        """Return the stored answer, waited for if need be; None says that the claim is held."""
        source, pause, useless = Source.REPLAYED, _FIRST_PAUSE, b""
        while True:
            taken = await self._claims.take(claim, self._own_id, useless)
            useless = b""
            match taken.word:
                case "held":
                    return None
                case "reused":
                    raise _reused()
                case "stored":
                    try:
                        answer = await self._archive.find(taken, call.identity.slot)
                    except AnswerLost as fault:
                        self._metrics.lost_answers.inc()
                        log.warning("a stored answer is lost, calling again", fault=str(fault))
                        useless = taken.record
                    else:
                        return StoredOutcome(answer, source, stored=True)
                case _:
                    source = Source.JOINED
                    seconds = min(pause, taken.seconds_left + _FIRST_PAUSE)
                    await self._running.pause(call, seconds)
                    pause = min(1.5 * pause, _LONGEST_PAUSE)

    async def _keep(self, claim: Claim, answer: Answer) -> bool:
        try:
            await self._archive.keep(claim, answer)
        except NotKept as fault:
            self._metrics.unstored.labels(fault.reason).inc()
            log.warning("an answer was not stored", reason=fault.reason, fault=str(fault))
            return False
        return True


def _reused() -> IdempotencyKeyReused:
    msg = "This Idempotency-Key was used for another request; a new request needs a new key."
    return IdempotencyKeyReused(msg, param=HEADER)
