"""Taking a request to a worker that admits it.

Owns the choice among ready workers and the tries: until the first frame a worker's fault costs
the client nothing but time. Knows no HTTP server and no client.
"""

from __future__ import annotations

import random

from services.controller.fleet.roster import Roster
from services.controller.metrics import ControllerMetrics
from services.controller.relay.aborts import Aborts
from services.controller.relay.exchange import Call, Exchange
from services.controller.routing.policies import least_loaded
from services.controller.upstream.pool import Unreachable, UpstreamPool
from shared.errors import LLMZooError, Overloaded, Unavailable
from shared.http.request_id import HEADER
from shared.protocol.frames import REQUEST_HEADER, StartFrame
from shared.protocol.priority import PRIORITY_HEADER

MAX_TRIES = 3
RETRY_AFTER_UNREACHABLE = 2.0


class Dispatcher:
    """Finds each call its worker."""

    def __init__(
        self,
        roster: Roster,
        pool: UpstreamPool,
        aborts: Aborts,
        metrics: ControllerMetrics,
        authorization: dict[str, str],
    ) -> None:
        """Work on these; `authorization` is the header that workers ask for."""
        self._roster = roster
        self._pool = pool
        self._aborts = aborts
        self._metrics = metrics
        self._headers = {
            "content-type": "application/json",
            REQUEST_HEADER: "1",
            **authorization,
        }

    async def open(self, call: Call) -> tuple[Exchange, StartFrame]:
        """Return an exchange with the worker that admitted the call; the caller closes it.

        Raises:
            ModelNotFound, Unavailable: nobody serves the model.
            Overloaded: every worker tried is full.
            Refused: a worker found the request at fault.
            UpstreamFailed, UpstreamTimeout: the workers tried are.
        """
        headers = {
            **self._headers,
            HEADER: call.id,
            PRIORITY_HEADER: call.priority.name.lower(),
        }
        tried: set[str] = set()
        faults: list[LLMZooError] = []
        while len(tried) < MAX_TRIES:
            ready = [w for w in self._roster.ready(call.model) if w.record.id not in tried]
            if not ready:
                break
            if faults:
                self._metrics.retries.labels(_reason(faults[-1])).inc()
            worker = least_loaded(ready, random.choice)
            tried.add(worker.record.id)
            exchange = Exchange(worker, call.id, self._pool, self._aborts)
            try:
                start = await exchange.open(call, headers)
            except LLMZooError as fault:
                exchange.close()
                faults.append(fault)
            except BaseException:
                exchange.close()
                raise
            else:
                if not faults:
                    self._metrics.overhead.observe(exchange.sent_at - call.arrived)
                return exchange, start
        if not faults:
            raise self._roster.why_not(call.model)
        raise _summary(faults)


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
