"""The hot routes: `/v1/chat/completions` and `/v1/completions`, as plain ASGI.

Owns the life of one request: body, peek, dispatch, relay, and its end, whichever it is. Of the
body it looks at `model` and `stream` alone; the bytes go on unchanged and the worker validates.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator
from itertools import count
from typing import Any

from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from services.controller.endpoints.endpoints import Endpoints
from services.controller.metrics import ControllerMetrics, Meter
from services.controller.relay.client_watch import ClientWatch
from services.controller.relay.dispatch import Dispatcher
from services.controller.relay.exchange import Call, Refused
from services.controller.relay.forward import relay_stream, relay_unary, send_json
from shared.errors import InvalidRequest, LLMZooError, MethodNotAllowed
from shared.http.body import ClientGone, read_body
from shared.http.faults import send_error
from shared.protocol.body import parse_object
from shared.protocol.priority import PRIORITY_HEADER, Priority


class ChatRoute:
    """Answers every request of one hot path."""

    def __init__(
        self,
        path: str,
        dispatcher: Dispatcher,
        endpoints: Endpoints,
        metrics: ControllerMetrics,
        max_body_bytes: int,
    ) -> None:
        """Serve `path`, which the workers serve as well."""
        self._path = path
        self._endpoints = endpoints
        self._dispatcher = dispatcher
        self._metrics = metrics
        self._max_body_bytes = max_body_bytes
        self._ids = _Ids()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["method"] != "POST":
            where = f"{scope['method']} {self._path}"
            await send_error(send, MethodNotAllowed(f"{where}: the path takes POST only."))
            return
        self._metrics.inflight.inc()
        try:
            priority = Priority.parse(Headers(scope=scope).get(PRIORITY_HEADER))
            body = await read_body(scope, receive, self._max_body_bytes)
            await self._answer(scope["state"]["request_id"], priority, body, receive, send)
        except ClientGone:
            pass
        except Refused as answer:
            await send_json(send, answer.status, answer.body, answer.retry_after)
        except LLMZooError as fault:
            await send_error(send, fault)
        finally:
            self._metrics.inflight.dec()

    async def _answer(
        self, request_id: str, priority: Priority, body: bytes, receive: Receive, send: Send
    ) -> None:
        arrived = time.monotonic()
        model, stream = _peek(parse_object(body))
        phase = "waiting"
        with self._ids.claim(request_id) as call_id:
            try:
                async with ClientWatch(receive):
                    call = Call(call_id, self._path, model, stream, body, arrived, priority)
                    external = self._endpoints.find(model)
                    if external is not None:
                        await external.serve(call, send)
                        return
                    exchange, start = await self._dispatcher.open(call)
                    with contextlib.closing(exchange):
                        phase = "answering"
                        meter = Meter(self._metrics.model(model), arrived)
                        meter.prompt(start.prompt_tokens)
                        relay = relay_stream if stream else relay_unary
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

    @contextlib.contextmanager
    def claim(self, request_id: str) -> Generator[str]:
        """Hold an id for the time of the context."""
        call_id = request_id
        while call_id in self._taken:
            call_id = f"{request_id[:100]}-{next(self._repeats)}"
        self._taken.add(call_id)
        try:
            yield call_id
        finally:
            self._taken.remove(call_id)


def _peek(request: dict[str, Any]) -> tuple[str, bool]:
    """Return the model and whether the answer is a stream.

    Raises:
        InvalidRequest: no model, or none that could be one.
    """
    if "model" not in request:
        msg = "Missing required parameter: 'model'."
        raise InvalidRequest(msg, param="model", code="missing_required_parameter")
    model = request["model"]
    if not isinstance(model, str):
        msg = "Invalid value for 'model': a string is needed."
        raise InvalidRequest(msg, param="model", code="invalid_type")
    if not model:
        msg = "Invalid value for 'model': it is empty."
        raise InvalidRequest(msg, param="model")
    return model, request.get("stream") is True
