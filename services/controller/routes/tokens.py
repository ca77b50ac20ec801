"""`/tokenize` and `/detokenize`: asked of any ready worker of the model, as plain ASGI.

Owns the choice of the worker and the tries; these calls take no place in the engine, so they
wait in no queue. Bodies and answers go on unchanged.
"""

from __future__ import annotations

import random
import time

from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from services.controller.access.limits import RateLimits
from services.controller.access.principal import Principal
from services.controller.fleet.member import Member
from services.controller.fleet.roster import Roster
from services.controller.relay.answer import Answer, send_answer
from services.controller.relay.client_watch import ClientWatch
from services.controller.relay.trace import trace_of
from services.controller.routes.asked_model import asked_model
from services.controller.upstream.origin import header_block
from services.controller.upstream.pool import Unreachable, UpstreamPool
from shared.errors import LLMZooError, Unavailable, UpstreamFailed
from shared.http.body import ClientGone, read_body
from shared.http.departure import departure_of
from shared.http.request_id import facts_of, loggable
from shared.protocol.body import parse_object
from shared.protocol.request_id import REQUEST_ID_HEADER

PATHS = ("/tokenize", "/detokenize")
MAX_TRIES = 3
RETRY_AFTER_SECONDS = 2.0

_ANSWER_TO_BODY = 16
"""An answer's bytes to a body's, at most: each letter may become a number and a string."""

_WORKERS_FAULTS = frozenset({401, 403, 429})
_SERVER_ERROR, _UNAVAILABLE = 500, 503


class TokenRoute:
    """Answers every request of one of the paths."""

    def __init__(
        self,
        path: str,
        roster: Roster,
        pool: UpstreamPool,
        authorization: dict[str, str],
        limits: RateLimits,
        *,
        max_body_bytes: int,
    ) -> None:
        """Serve `path`, which the workers serve as well."""
        self._path = path
        self._roster = roster
        self._pool = pool
        self._headers = {"content-type": "application/json", **authorization}
        self._limits = limits
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; its faults are raised, for whoever stands before it to answer."""
        try:
            body = await read_body(scope, receive, self._max_body_bytes)
            model = asked_model(parse_object(body))
            facts_of(scope)["model"] = loggable(model)
            headers = {
                **self._headers,
                REQUEST_ID_HEADER: scope["state"]["request_id"],
                **trace_of(dict(scope["headers"])).headers,
            }
            principal: Principal = scope["state"]["principal"]
            with ClientWatch(departure_of(scope)):
                with await self._limits.reserve(principal, 0) as held:
                    answer = await self._ask(model, headers, body)
                    held.settle(0)  # the request counts, its tokens cost nothing
                await send_answer(send, answer, held.headers)
        except ClientGone:
            pass

    async def _ask(self, model: str, headers: dict[str, str], body: bytes) -> Answer:
        """Return a worker's answer; nothing is changed by asking, so another one may be asked.

        Raises:
            ModelNotFound, Unavailable: nobody serves the model.
            UpstreamFailed, UpstreamTimeout: the workers tried are at fault.
        """
        workers = self._able(model)
        faults: list[LLMZooError] = []
        for worker in workers[:MAX_TRIES]:
            try:
                return await self._ask_one(worker, headers, body)
            except LLMZooError as fault:
                faults.append(fault)
        if not faults:
            raise self._roster.why_not(model)
        if all(isinstance(fault, Unreachable) for fault in faults):
            msg = "No worker of this model can be reached now."
            raise Unavailable(msg, param="model", retry_after=RETRY_AFTER_SECONDS)
        raise faults[-1]

    async def _ask_one(self, worker: Member, headers: dict[str, str], body: bytes) -> Answer:
        connection = await self._pool.request(
            worker.origin, self._path, header_block(headers.items()), body
        )
        complete = False
        try:
            answer = bytearray()
            while piece := await connection.read():
                answer += piece
                if len(answer) > _ANSWER_TO_BODY * self._max_body_bytes:
                    msg = "The worker's answer has no end."
                    raise UpstreamFailed(msg)
            complete = True
        finally:
            connection.release(complete=complete)
        status = connection.status
        if status == _UNAVAILABLE:
            msg = "The worker is not ready for this model."
            raise Unavailable(msg, param="model", retry_after=RETRY_AFTER_SECONDS)
        if status >= _SERVER_ERROR or status in _WORKERS_FAULTS:
            msg = f"The worker answered with status {status}."
            raise UpstreamFailed(msg)
        return Answer(status, bytes(answer))

    def _able(self, model: str) -> list[Member]:
        """Return the ready workers in the order in which they are asked."""
        now = time.monotonic()
        ready = list(self._roster.ready(model))
        random.shuffle(ready)
        return sorted(ready, key=lambda worker: (not worker.breaker.allows(now), worker.occupied))


def token_routes(
    roster: Roster,
    pool: UpstreamPool,
    authorization: dict[str, str],
    limits: RateLimits,
    *,
    max_body_bytes: int,
) -> list[Route]:
    """Return both routes."""

    def route(path: str) -> Route:
        answer = TokenRoute(
            path, roster, pool, authorization, limits, max_body_bytes=max_body_bytes
        )
        return Route(path, answer, methods=["POST"])

    return [route(path) for path in PATHS]
