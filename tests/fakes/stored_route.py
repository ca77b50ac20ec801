"""A route that answers through the call store, as a hot route's unary path does.

What makes the call is handed in; the order of the steps is the point: the key's syntax before
the body, the store within the watch of the client, and nothing of the client in what makes the
call. A stream with a key is answered as without, and says that it was not stored.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.types import Receive, Scope, Send

from services.controller.call_store.identity import CallIdentity, idempotency_key
from services.controller.call_store.outcome import UNSTORED
from services.controller.call_store.store import CallStore
from services.controller.relay.answer import Answer, Headers
from services.controller.relay.client_watch import ClientWatch
from shared.errors import LLMZooError
from shared.http.body import ClientGone, read_body
from shared.http.departure import departure_of
from shared.http.faults import send_error
from shared.protocol.body import parse_object

Make = Callable[[bytes], Awaitable[Answer]]


class StoredRoute:
    """Makes each call with `make`, of the request's body."""

    def __init__(self, store: CallStore, make: Make, *, required: bool) -> None:
        self._store = store
        self._make = make
        self._required = required

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            key = idempotency_key(scope["headers"])
            body = await read_body(scope, receive, 1 << 20)
            stream = parse_object(body).get("stream") is True
            async with ClientWatch(departure_of(scope)):
                if key is None or stream:
                    answer, told = await self._make(body), UNSTORED if key else ()
                else:
                    # The guard's principal in the real route.
                    identity = CallIdentity.of("anonymous", key, scope["path"], body)
                    outcome = await self._store.answer(
                        identity, lambda: self._make(body), required=self._required
                    )
                    answer, told = outcome.answer, outcome.headers()
                await _send(send, answer, told)
        except ClientGone:
            pass
        except LLMZooError as fault:
            await send_error(send, fault)


async def _send(send: Send, answer: Answer, told: Headers) -> None:
    head = (*answer.headers, *told, ("content-length", str(len(answer.body))))
    headers = [(name.encode(), value.encode()) for name, value in head]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
