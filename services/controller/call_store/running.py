"""The calls that this controller makes or waits for, each in a task of its own.

Owns the tasks: how many there may be, who waits for which, that a client that leaves ends none
that works, and their end with the service. Does not know what a task does.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import structlog

from services.controller.background import end_all
from services.controller.call_store.identity import CallIdentity
from services.controller.call_store.metrics import CallStoreMetrics
from services.controller.call_store.outcome import Source, StoredOutcome
from shared.errors import LLMZooError, Overloaded, Unavailable

log = structlog.get_logger(__name__)

MAX_CALLS = 2048
MAX_CALLS_OF_KEY = MAX_CALLS // 2
"""Most calls at once, in all and of one API key: clients that left hold no connection."""

_RETRY_AFTER = 2.0
_LEAST_SECONDS = 1.0


@dataclass(eq=False, slots=True)
class RunningCall:
    """One call, and how many requests wait for it."""

    identity: CallIdentity
    task: asyncio.Task[StoredOutcome] = field(init=False)
    waiters: int = 0
    pausing: bool = False
    """Whether it only waits for another controller, so that nobody needs it without a waiter."""


Work = Callable[[RunningCall], Coroutine[Any, Any, StoredOutcome]]


class RunningCalls:
    """All calls of one controller, by slot."""

    def __init__(self, metrics: CallStoreMetrics) -> None:
        """Start with none."""
        self._calls: dict[str, RunningCall] = {}
        self._counts: Counter[str] = Counter()
        self._metrics = metrics
        metrics.observe_running(lambda: len(self._calls))

    def find(self, slot: str) -> RunningCall | None:
        """Return the call that runs in a slot."""
        return self._calls.get(slot)

    def begin(self, identity: CallIdentity, work: Work) -> RunningCall:
        """Start a call in a free slot. Raises Overloaded."""
        of_key = self._counts[identity.principal_id]
        if len(self._calls) >= MAX_CALLS or of_key >= MAX_CALLS_OF_KEY:
            msg = "Too many calls with an Idempotency-Key are under way."
            raise Overloaded(msg, retry_after=_RETRY_AFTER)
        call = RunningCall(identity)
        self._calls[identity.slot] = call
        self._counts[identity.principal_id] = of_key + 1
        call.task = asyncio.create_task(work(call), name="stored-call")
        call.task.add_done_callback(lambda _: self._ended(call))
        return call

    async def wait_for(self, call: RunningCall) -> StoredOutcome:
        """Return the call's outcome or raise its failure; to be cancelled ends no work.

        Raises:
            Unavailable: the service stopped before the call's end.
        """
        waiting = asyncio.current_task()
        assert waiting is not None
        call.waiters += 1
        try:
            return await asyncio.shield(call.task)
        except asyncio.CancelledError:
            if call.task.cancelled() and not waiting.cancelling():
                msg = "This controller stops; the call was not finished."
                raise Unavailable(msg, retry_after=_RETRY_AFTER) from None
            raise
        finally:
            call.waiters -= 1
            if call.pausing and not call.waiters:
                # At once, so that who asks next begins anew.
                self._forget(call)
                call.task.cancel()

    async def pause(self, call: RunningCall, seconds: float) -> None:
        """Wait in a call's task; the task ends when nobody waits for it any more."""
        if not call.waiters:
            self._forget(call)
            raise asyncio.CancelledError
        call.pausing = True
        try:
            await asyncio.sleep(seconds)
        finally:
            call.pausing = False

    async def finish(self, until: float) -> None:
        """Wait for all calls until a time of the monotonic clock, then end what is left."""
        running = {call.task for call in self._calls.values()}
        if running:
            left = max(_LEAST_SECONDS, until - time.monotonic())
            _, running = await asyncio.wait(running, timeout=left)
        if running:
            log.warning("calls were not finished", count=len(running))
        await end_all(running)

    def _ended(self, call: RunningCall) -> None:
        self._forget(call)
        if call.task.cancelled():
            return
        fault = call.task.exception()
        if fault is None:
            self._metrics.calls.labels(_label(call.task.result())).inc()
            return
        self._metrics.calls.labels("failed").inc()
        if not call.waiters:
            log.warning("a call that nobody waited for failed", fault=_told(fault))

    def _forget(self, call: RunningCall) -> None:
        if self._calls.get(call.identity.slot) is not call:
            return
        del self._calls[call.identity.slot]
        principal = call.identity.principal_id
        self._counts[principal] -= 1
        if not self._counts[principal]:
            del self._counts[principal]


def _label(outcome: StoredOutcome) -> str:
    if outcome.answer.failed:
        return "failed"
    if outcome.source is not Source.FRESH:
        return outcome.source.value
    return "stored" if outcome.stored else "unstored"


def _told(fault: BaseException) -> str:
    """Return what the log says of a failure that nobody else hears of."""
    if isinstance(fault, LLMZooError):
        return fault.message
    # As text, without the frames' locals, which hold the request.
    return "".join(traceback.format_exception(fault))
