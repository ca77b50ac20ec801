"""The hot routes: `/v1/chat/completions` and `/v1/completions`, as plain ASGI.

Owns the life of one request: body, peek, limits, and who answers it. The body is looked into
once, for what routing needs; its bytes go on unchanged and the worker validates.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from starlette.types import Receive, Scope, Send

from services.controller.access.limits import RateLimits
from services.controller.access.principal import Principal
from services.controller.call_store.identity import CallIdentity, idempotency_key
from services.controller.call_store.outcome import UNSTORED
from services.controller.call_store.store import CallStore
from services.controller.fleet.roster import Roster
from services.controller.metrics import ControllerMetrics
from services.controller.relay.answer import Answer, send_answer
from services.controller.relay.backend import Backend
from services.controller.relay.call import Call
from services.controller.relay.client_watch import ClientWatch
from services.controller.relay.deadline import TIMEOUT_HEADER, parse_deadline
from services.controller.relay.trace import trace_of
from services.controller.routes.asked_model import asked_model
from services.controller.routing.ask import ask_of
from shared.errors import InvalidRequest, MethodNotAllowed
from shared.http.body import ClientGone, read_body
from shared.http.departure import departure_of
from shared.http.request_id import facts_of, loggable
from shared.protocol.body import parse_object
from shared.protocol.event_id import LAST_EVENT_ID_HEADER, EventId
from shared.protocol.prefix_chain import chain_of
from shared.protocol.priority import PRIORITY_HEADER

SESSION_HEADER = "x-session-id"
MOST_SESSION_LETTERS = 256
_PRIORITY, _TIMEOUT, _SESSION, _LAST_EVENT = (
    name.encode()
    for name in (PRIORITY_HEADER, TIMEOUT_HEADER, SESSION_HEADER, LAST_EVENT_ID_HEADER)
)


class ChatRoute:
    """Answers every request of one hot path."""

    def __init__(
        self,
        path: str,
        roster: Roster,
        backend: Callable[[str], Backend],
        limits: RateLimits,
        store: CallStore,
        *,
        metrics: ControllerMetrics,
        max_body_bytes: int,
    ) -> None:
        """Serve `path`; `backend` tells who answers calls of a model."""
        self._path = path
        self._roster = roster
        self._backend = backend
        self._limits = limits
        self._store = store
        self._metrics = metrics
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; its faults are raised, for whoever stands before it to answer."""
        if scope["method"] != "POST":
            where = f"{scope['method']} {self._path}"
            raise MethodNotAllowed(f"{where}: the path takes POST only.")
        self._metrics.inflight += 1
        try:
            began = time.monotonic()
            key = idempotency_key(scope["headers"])
            body = await read_body(scope, receive, self._max_body_bytes)
            call = self._call(scope, body, began)
            with ClientWatch(departure_of(scope)):
                await self._answer(call, scope["state"]["principal"], key, send)
        except ClientGone:
            pass
        finally:
            self._metrics.inflight -= 1

    def _call(self, scope: Scope, body: bytes, began: float) -> Call:
        """Look into a request that began to come at `began`.

        Raises:
            InvalidRequest: no model, or a header that is none.
        """
        arrived = time.monotonic()
        headers: dict[bytes, bytes] = dict(scope["headers"])
        principal: Principal = scope["state"]["principal"]
        request = parse_object(body)
        model = asked_model(request)
        facts = facts_of(scope)
        facts["model"] = loggable(model)
        stream = request.get("stream") is True
        # What a request begins with decides nothing where there is no choice.
        chain = chain_of(request) if self._roster.has_choice(model) else ()
        return Call(
            scope["state"]["request_id"],
            self._path,
            model,
            stream,
            body,
            arrived,
            priority=principal.priority_for(headers.get(_PRIORITY)),
            key=principal.id,
            session=_session(headers.get(_SESSION), request),
            deadline=parse_deadline(headers.get(_TIMEOUT), began),
            ask=ask_of(request, len(body), chain),
            trace=trace_of(headers),
            facts=facts,
            last_event=_last_event(headers.get(_LAST_EVENT), stream=stream),
        )

    async def _answer(self, call: Call, principal: Principal, key: str | None, send: Send) -> None:
        """Answer a call; one with an Idempotency-Key, `key`, is made once and stored."""
        backend = self._backend(call.model)
        if key is not None and not call.stream:
            identity = CallIdentity.of(call.key, key, call.path, call.body)

            async def make() -> Answer:
                with await self._limits.reserve(principal, call.ask.tokens) as held:
                    return await backend.complete(call, held.settle)

            outcome = await self._store.answer(identity, make, required=backend.paid)
            await send_answer(send, outcome.answer, outcome.headers())
            return
        with await self._limits.reserve(principal, call.ask.tokens) as held:
            if call.stream:
                told = held.headers if key is None else (*held.headers, *UNSTORED)
                await backend.stream(call, held.settle, send, told)
            else:
                await send_answer(send, await backend.complete(call, held.settle), held.headers)


def _last_event(header: bytes | None, *, stream: bool) -> EventId | None:
    """Return the event behind which an answer is to go on.

    Raises:
        InvalidRequest: it is none, or the answer is no stream.
    """
    if header is None:
        return None
    if not stream:
        msg = "Only a stream can go on behind an event: `stream` must be true."
        raise InvalidRequest(msg, param="Last-Event-ID")
    return EventId.parse(header.decode("latin-1"))


def _session(header: bytes | None, request: dict[str, Any]) -> str:
    """Return the name of what calls belong together, by the header or OpenAI's parameter."""
    if header:
        return header.decode("latin-1")[:MOST_SESSION_LETTERS]
    key = request.get("prompt_cache_key")
    return key[:MOST_SESSION_LETTERS] if isinstance(key, str) else ""
