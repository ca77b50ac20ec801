"""The hot routes: `/v1/chat/completions` and `/v1/completions`, as plain ASGI.

Owns the life of one request: body, peek, dispatch, relay, and its end, whichever it is. The body
is looked into once, for what routing needs; its bytes go on unchanged and the worker validates.
"""

from __future__ import annotations

import contextlib
import time
from itertools import count
from typing import Any

from starlette.types import Receive, Scope, Send

from services.controller.fleet.roster import Roster
from services.controller.metrics import ControllerMetrics, Meter
from services.controller.relay.call import Call
from services.controller.relay.client_watch import ClientWatch
from services.controller.relay.deadline import TIMEOUT_HEADER, parse_deadline
from services.controller.relay.dispatch import Dispatcher
from services.controller.relay.exchange import Refused
from services.controller.relay.forward import relay_stream, relay_unary, send_json
from services.controller.routes.asked_model import asked_model
from services.controller.routing.ask import ask_of
from shared.errors import MethodNotAllowed
from shared.http.body import ClientGone, read_body
from shared.protocol.body import parse_object
from shared.protocol.prefix_chain import chain_of
from shared.protocol.priority import PRIORITY_HEADER, Priority

SESSION_HEADER = "x-session-id"
MOST_SESSION_LETTERS = 256
_PRIORITY, _TIMEOUT, _SESSION = (
    name.encode() for name in (PRIORITY_HEADER, TIMEOUT_HEADER, SESSION_HEADER)
)


class ChatRoute:
    """Answers every request of one hot path."""

    def __init__(
        self,
        path: str,
        roster: Roster,
        dispatcher: Dispatcher,
        metrics: ControllerMetrics,
        max_body_bytes: int,
    ) -> None:
        """Serve `path`, which the workers serve as well."""
        self._path = path
        self._roster = roster
        self._dispatcher = dispatcher
        self._metrics = metrics
        self._max_body_bytes = max_body_bytes
        self._ids = _Ids()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; its faults are raised, for whoever stands before it to answer."""
        if scope["method"] != "POST":
            where = f"{scope['method']} {self._path}"
            raise MethodNotAllowed(f"{where}: the path takes POST only.")
        self._metrics.inflight += 1
        try:
            began = time.monotonic()
            body = await read_body(scope, receive, self._max_body_bytes)
            call_id = self._ids.claim(scope["state"]["request_id"])
            try:
                call = self._call(call_id, dict(scope["headers"]), body, began)
                await self._answer(call, receive, send)
            finally:
                self._ids.release(call_id)
        except ClientGone:
            pass
        except Refused as answer:
            await send_json(send, answer.status, answer.body, answer.retry_after)
        finally:
            self._metrics.inflight -= 1

    def _call(self, call_id: str, headers: dict[bytes, bytes], body: bytes, began: float) -> Call:
        """Look into a request that began to come at `began`.

        Raises:
            InvalidRequest: no model, or a header that is none.
        """
        arrived = time.monotonic()
        request = parse_object(body)
        model = asked_model(request)
        # What a request begins with decides nothing where there is no choice.
        chain = chain_of(request) if self._roster.has_choice(model) else ()
        return Call(
            call_id,
            self._path,
            model,
            request.get("stream") is True,
            body,
            arrived,
            priority=Priority.parse(headers.get(_PRIORITY)),
            session=_session(headers.get(_SESSION), request),
            deadline=parse_deadline(headers.get(_TIMEOUT), began),
            ask=ask_of(request, len(body), chain),
        )

    async def _answer(self, call: Call, receive: Receive, send: Send) -> None:
        phase = "waiting"
        try:
            async with ClientWatch(receive):
                exchange, start = await self._dispatcher.open(call)
                with contextlib.closing(exchange):
                    phase = "answering"
                    meter = Meter(self._metrics.model(call.model), call.arrived)
                    meter.prompt(start.prompt_tokens)
                    relay = relay_stream if call.stream else relay_unary
                    await relay(exchange, meter, send)
        except ClientGone:
            self._metrics.cancellations.labels(phase).inc()
            raise


class _Ids:
    """The ids under which calls run on workers.

    It is the request's own, so that the logs of both agree, unless a client uses one id for
    several requests at once: an abort of one must not end the other.
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._repeats = count(2)

    def claim(self, request_id: str) -> str:
        """Return an id that nobody else has until it is released."""
        call_id = request_id
        while call_id in self._taken:
            call_id = f"{request_id[:100]}-{next(self._repeats)}"
        self._taken.add(call_id)
        return call_id

    def release(self, call_id: str) -> None:
        """Give an id back."""
        self._taken.remove(call_id)


def _session(header: bytes | None, request: dict[str, Any]) -> str:
    """Return the name of what calls belong together, by the header or OpenAI's parameter."""
    if header:
        return header.decode("latin-1")[:MOST_SESSION_LETTERS]
    key = request.get("prompt_cache_key")
    return key[:MOST_SESSION_LETTERS] if isinstance(key, str) else ""
