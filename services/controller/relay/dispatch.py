"""Taking a request to a worker that admits it.

Owns the choice among ready workers and the tries: until the first frame a worker's fault costs
the client nothing but time. Knows no HTTP server and no client.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from services.controller.flow.admission import Admission
from services.controller.flow.retry_budget import RetryBudget
from services.controller.metrics import ControllerMetrics
from services.controller.relay.aborts import Aborts
from services.controller.relay.call import Call
from services.controller.relay.errand import Errand
from services.controller.relay.exchange import Exchange
from services.controller.upstream.pool import Unreachable, UpstreamPool
from shared.errors import DeadlineExceeded, LLMZooError, Overloaded, Unavailable
from shared.protocol.frames import StartFrame

MAX_TRIES = 3
RETRY_AFTER_UNREACHABLE = 2.0


class Dispatcher:
    """Finds each call its worker."""

    def __init__(
        self,
        admission: Admission,
        pool: UpstreamPool,
        aborts: Aborts,
        metrics: ControllerMetrics,
    ) -> None:
        """Work on these."""
        self._admission = admission
        self._pool = pool
        self._aborts = aborts
        self._metrics = metrics
        self._budget = RetryBudget()

    async def open(
        self,
        call: Call,
        errand: Errand,
        avoided: AbstractSet[str] = frozenset(),
        *,
        patience: float | None = None,
    ) -> tuple[Exchange, StartFrame]:
        """Return an exchange with the worker that admitted the call; the caller closes it.

        Args:
            call: what asks for a place.
            errand: what is sent for it.
            avoided: incarnations of workers that it must not go to.
            patience: seconds that it waits for a place, by default as the settings say.

        Raises:
            ModelNotFound, Unavailable: nobody serves the model.
            Overloaded: too many requests wait, or every worker tried is full.
            Refused: a worker found the request at fault.
            UpstreamFailed, UpstreamTimeout: the workers tried are.
        """
        self._budget.earn()
        tried = set(avoided)
        faults: list[LLMZooError] = []
        while True:
            lease = await self._admission.place(call, tried, patience=patience)
            if lease is None:
                raise _summary(faults)
            if faults:
                self._metrics.retries.labels(_reason(faults[-1])).inc()
            tried.add(lease.member.incarnation)
            exchange = Exchange(lease, self._pool, self._aborts)
            try:
                start = await exchange.open(errand)
            except LLMZooError as fault:
                exchange.close()
                faults.append(fault)
                if not self._may_retry(fault, len(faults)):
                    raise _summary(faults) from fault
            except BaseException:
                exchange.close()
                raise
            else:
                if errand.first and not faults:
                    self._metrics.overhead.observe(exchange.sent_at - call.arrived)
                return exchange, start

    def _may_retry(self, fault: LLMZooError, tries: int) -> bool:
        """Return whether another worker is asked; where nothing was sent it costs nothing."""
        if tries >= MAX_TRIES or isinstance(fault, DeadlineExceeded):
            return False
        return isinstance(fault, Unreachable) or self._budget.spend()


def _reason(fault: LLMZooError) -> str:
    return "unreachable" if isinstance(fault, Unreachable) else type(fault).default_code or ""


def _summary(faults: list[LLMZooError]) -> LLMZooError:
    """Return what the client is told after the last try."""
    full = [fault for fault in faults if isinstance(fault, Overloaded)]
    if full:
        return min(full, key=lambda fault: fault.retry_after or 0.0)
    if all(isinstance(fault, Unreachable) for fault in faults):
        # Gone, and the registry has not noticed yet: the same answer as when it has.
        msg = "No worker of this model can be reached now."
        return Unavailable(msg, retry_after=RETRY_AFTER_UNREACHABLE)
    return faults[-1]
