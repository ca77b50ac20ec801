"""Letting calls in to one endpoint, and out again.

Owns the order: is it put aside, do its minute's limits allow the call, is there a place; and
that whatever a call took is given back at its end, with what its end tells of the endpoint.
Sends nothing.
"""

from __future__ import annotations

import asyncio
import time
from types import TracebackType
from typing import Self

from services.controller.breaker import Breaker
from services.controller.endpoints.concurrency import AdaptiveLimit, Latency
from services.controller.endpoints.config import EndpointConfig
from services.controller.endpoints.gate import Gate
from services.controller.endpoints.limits import Limiter, Reservation
from services.controller.endpoints.metrics import EndpointMetrics
from services.controller.endpoints.usage import Usage
from shared.errors import LLMZooError, Overloaded, Unavailable, UpstreamTimeout

_WAITING_PER_PLACE = 4
_LONGEST_WAIT = 30.0


class Admission:
    """The places, limits and breaker of one endpoint."""

    def __init__(self, config: EndpointConfig, limiter: Limiter, metrics: EndpointMetrics) -> None:
        """Start with everything free."""
        self.measures = metrics.of(config.name)
        self.limiter = limiter
        self.breaker = Breaker(first_seconds=2.0, longest_seconds=60.0)
        self.limit = AdaptiveLimit(config.max_concurrency)
        self.gate = Gate(
            config.name,
            self.limit,
            max_waiting=_WAITING_PER_PLACE * config.max_concurrency,
            longest_wait=min(_LONGEST_WAIT, config.timeout),
        )
        # A stream's first byte comes at another time than a whole answer's.
        self.latencies = {True: Latency(), False: Latency()}
        self._endpoint = config.name
        metrics.observe(
            config.name,
            inflight=lambda: self.gate.inflight,
            waiting=lambda: self.gate.waiting,
            places=lambda: self.limit.places,
            put_aside=lambda: not self.available,
        )

    @property
    def available(self) -> bool:
        """Return whether calls may go there: it is not put aside, or may be probed again."""
        return self.breaker.allows(time.monotonic())

    def visit(self, guess: Usage, *, stream: bool) -> Visit:
        """Return the context of one call that may come to `guess`."""
        return Visit(self, guess, stream=stream)

    def check_breaker(self) -> None:
        """Pass, or tell until when the endpoint is put aside.

        Raises:
            Unavailable: it is.
        """
        now = time.monotonic()
        if not self.breaker.allows(now):
            self.measures.calls["put_aside"].inc()
            msg = f"The endpoint '{self._endpoint}' failed several times in a row and is put aside."
            raise Unavailable(
                msg, code="endpoint_put_aside", retry_after=self.breaker.retry_after(now)
            )


class Visit:
    """One call's stay; a context.

    Attributes:
        sent: whether anything was sent, so that it may have been executed.
        charged: the tokens that the limits are charged with at the end.
        outcome: under which word the call counts, unless it ends by an exception.
        fault: what ended an answer that had begun.
    """

    def __init__(self, admission: Admission, guess: Usage, *, stream: bool) -> None:
        """Prepare; nothing is taken yet."""
        self.sent = False
        self.charged = guess.total
        self.outcome = "answered"
        self.fault: LLMZooError | None = None
        self._at = admission
        self._latency = admission.latencies[stream]
        self._fine = True
        self._probe = False
        self._entered_at = self._sent_at = 0.0
        self._reservation: Reservation | None = None

    async def __aenter__(self) -> Self:
        """Take what the call needs.

        Raises:
            Unavailable: the endpoint is put aside.
            Overloaded: its limits are used up, or its places and the queue for them.
        """
        at = self._at
        at.check_breaker()
        try:
            self._reservation = await at.limiter.reserve(self.charged)
            await at.gate.enter()
        except BaseException as fault:
            self._leave_outside("limited" if isinstance(fault, Overloaded) else "left")
            raise
        self._entered_at = time.monotonic()
        try:
            # It may have been put aside while this call waited.
            at.check_breaker()
        except Unavailable:
            at.gate.leave(0.0)
            self._leave_outside("")
            raise
        self._probe = at.breaker.enter()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give everything back."""
        at, now = self._at, time.monotonic()
        fault = fault or self.fault
        self._tell_breaker(fault, now)
        if isinstance(fault, UpstreamTimeout):
            self.congested()
        if fault is None and self.outcome == "answered":
            at.limit.succeeded(inflight=at.gate.inflight, fine=self._fine)
        at.gate.leave(now - self._entered_at)
        assert self._reservation is not None
        if self.sent:
            self._reservation.settle(self.charged)
        else:
            self._reservation.cancel()
        at.measures.calls[self._word(fault)].inc()

    def sending(self) -> None:
        """Note that a try begins."""
        self._sent_at = time.monotonic()

    def first_byte(self) -> None:
        """Note that the answer began."""
        seconds = time.monotonic() - self._sent_at
        self._at.measures.first_byte.observe(seconds)
        self._fine = self._latency.fine(seconds)

    def congested(self) -> None:
        """Note that the endpoint has too much to do."""
        self._at.limit.congested(sent_at=self._sent_at, now=time.monotonic())

    def _tell_breaker(self, fault: BaseException | None, now: float) -> None:
        breaker = self._at.breaker
        match fault:
            case None:
                breaker.succeed()
            case LLMZooError(retryable=True):
                breaker.fail(now, probe=self._probe)
            case _:
                # A key that is refused, or an answer that one odd request got, tells nothing
                # of what others will get.
                breaker.abandon(probe=self._probe)

    def _leave_outside(self, word: str) -> None:
        if self._reservation is not None:
            self._reservation.cancel()
        if word:
            self._at.measures.calls[word].inc()

    def _word(self, fault: BaseException | None) -> str:
        if fault is None:
            return self.outcome
        return "left" if isinstance(fault, asyncio.CancelledError) else "failed"
