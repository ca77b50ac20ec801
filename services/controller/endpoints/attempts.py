"""Sending a call to an endpoint until it is answered, and what a refusal means.

Owns the tries before the first byte of an answer. Only what surely was not executed is sent
again: nothing was sent, or the endpoint itself said to come back in a moment. A call that may
have run may have cost money and is not repeated.
"""

from __future__ import annotations

import asyncio
import random
from typing import cast

import orjson

from services.controller.endpoints.admission import Visit
from services.controller.endpoints.key_file import KeyFile
from services.controller.endpoints.metrics import Measures
from services.controller.endpoints.request import EndpointRequest
from services.controller.flow.retry_budget import RetryBudget
from services.controller.relay.answer import Answer, refusal
from services.controller.upstream.connection import Connection
from services.controller.upstream.origin import Origin, header_block
from services.controller.upstream.pool import Unreachable, UpstreamPool
from shared.errors import (
    EndpointRefusesKey,
    InvalidRequest,
    LLMZooError,
    MalformedAnswer,
    Unavailable,
    UpstreamFailed,
    UpstreamTimeout,
)
from shared.http.faults import whole_seconds
from shared.http.retry_after import parse_retry_after

MAX_TRIES = 3
SHORT_WAIT = 1.0
"""Longest Retry-After, in seconds, that we wait for instead of the client."""

MAX_REFUSAL_BYTES = 1024 * 1024
_RESERVE = 10.0
_LONGEST_QUOTE = 300


class Attempts:
    """Tries of calls to one endpoint, with one retry budget for all."""

    def __init__(
        self,
        endpoint: str,
        pool: UpstreamPool,
        origin: Origin,
        key: KeyFile | None,
        measures: Measures,
    ) -> None:
        """Send to `origin` with `key`, if there is one."""
        self._endpoint = f"The endpoint '{endpoint}'"
        self._pool = pool
        self._origin = origin
        self._key = key
        self._measures = measures
        # A tenth of the calls may be retries, so that an outage is not made worse.
        self._budget = RetryBudget(_RESERVE)

    async def open(self, request: EndpointRequest, visit: Visit) -> Connection | Answer:
        """Return a connection whose answer is good so far, or a refusal to be passed on.

        The caller releases the connection.

        Raises:
            EndpointRefusesKey: it does not take our key. Unavailable: it has no capacity.
            UpstreamFailed, UpstreamTimeout: it failed.
        """
        self._budget.earn()
        tries = 0
        while True:
            tries += 1
            try:
                connection = await self._send(request, visit)
            except Unreachable:
                pause = random.uniform(0.5, 1.0) * 0.1 * 2**tries  # noqa: S311 - no secret
                if not self._may_repeat(tries):
                    raise
            else:
                if connection.status not in {429, 503}:
                    return await self._judged(connection, visit)
                visit.congested()
                wait = parse_retry_after(connection.headers.get(b"retry-after"))
                if wait is None or wait > SHORT_WAIT or not self._may_repeat(tries):
                    return await self._judged(connection, visit)
                await read_whole(connection, self._endpoint, MAX_REFUSAL_BYTES)
                pause = wait
            self._measures.retries.inc()
            await asyncio.sleep(pause)

    async def _send(self, request: EndpointRequest, visit: Visit) -> Connection:
        headers = request.headers
        if self._key is not None:
            headers = {**headers, "authorization": f"Bearer {self._key.key()}"}
        visit.sending()
        sent_before, visit.sent = visit.sent, True
        try:
            return await self._pool.request(
                self._origin, request.path, header_block(headers.items()), request.body
            )
        except Unreachable:
            visit.sent = sent_before
            raise

    def _may_repeat(self, tries: int) -> bool:
        return tries < MAX_TRIES and self._budget.spend()

    async def _judged(self, connection: Connection, visit: Visit) -> Connection | Answer:
        """Return or raise what the status means."""
        status = connection.status
        if 200 <= status < 300:  # noqa: PLR2004 - any success
            return connection
        body = await read_whole(connection, self._endpoint, MAX_REFUSAL_BYTES)
        retry_after = parse_retry_after(connection.headers.get(b"retry-after"))
        # Refused, so not executed; of a failure, nobody knows.
        if status < 500 or status == 503:  # noqa: PLR2004 - 4xx, Unavailable
            visit.charged = 0
        if 400 <= status < 500 and status not in {401, 403}:  # noqa: PLR2004 - the caller's fault
            visit.outcome = "overloaded" if status == 429 else "refused"  # noqa: PLR2004
            return self._refusal(connection, body, retry_after)
        raise self._fault(status, retry_after, _quote(body))

    def _fault(self, status: int, retry_after: float | None, quote: str) -> LLMZooError:
        said = f"{self._endpoint} answered with status {status}{quote}."
        match status:
            case 401 | 403:
                return EndpointRefusesKey(f"{self._endpoint} does not take its key ({status}).")
            case 503:
                return Unavailable(said, retry_after=retry_after or 1.0)
            case 504:
                return UpstreamTimeout(said)
            case _ if status < 400:  # noqa: PLR2004 - 3xx
                return MalformedAnswer(f"{self._endpoint} sends elsewhere ({status}).")
            case _:
                return UpstreamFailed(said)

    def _refusal(self, connection: Connection, body: bytes, retry_after: float | None) -> Answer:
        """Return the answer as it is if it is an error object, else one that tells of it."""
        status = connection.status
        wait = ""
        if retry_after is not None or status == 429:  # noqa: PLR2004 - Too Many Requests
            wait = whole_seconds(retry_after or 0.0)
        if not isinstance(_parsed(body), dict):
            fault = InvalidRequest(f"{self._endpoint} refused the request with status {status}.")
            body = orjson.dumps(fault.as_openai())
        return refusal(status, body, wait)


async def read_whole(connection: Connection, who: str, limit: int) -> bytes:
    """Return the answer's whole body, and release its connection.

    Raises:
        MalformedAnswer: it is longer than `limit` bytes. UpstreamFailed, UpstreamTimeout: it
            broke off.
    """
    body = bytearray()
    whole = False
    try:
        while piece := await connection.read():
            body += piece
            if len(body) > limit:
                raise MalformedAnswer(f"{who} answered with more than {limit} bytes.")
        whole = True
    finally:
        connection.release(complete=whole)
    return bytes(body)


def _quote(body: bytes) -> str:
    """Return the message of an error object, shortened, to be told on."""
    content = _parsed(body)
    if not isinstance(content, dict):
        return ""
    error = cast("dict[str, object]", content).get("error")
    message = cast("dict[str, object]", error).get("message") if isinstance(error, dict) else error
    return f": {message[:_LONGEST_QUOTE].rstrip('.')}" if isinstance(message, str) else ""


def _parsed(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
