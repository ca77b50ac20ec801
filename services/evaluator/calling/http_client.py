"""Chat requests to the controller, over connections that are kept.

Owns the idle connections, the request's head, its id and the call's line in the log. A call that
meets a connection which the other side has closed meanwhile is sent again on a new one: its key
makes that safe.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from collections import deque
from dataclasses import replace
from typing import Any, cast
from urllib.parse import urlsplit

import orjson
import structlog

from services.evaluator.calling.connection import CallConnection
from shared.client import CHAT_PATH, Answer, api_error, read_answer
from shared.errors import (
    ConfigurationError,
    LLMZooError,
    MalformedAnswer,
    Unavailable,
    UpstreamFailed,
)
from shared.http.request_id import loggable
from shared.protocol.priority import PRIORITY_HEADER, Priority
from shared.protocol.request_id import REQUEST_ID_HEADER
from shared.protocol.stored_calls import REPEATED_HEADER, REPLAYED_HEADER, read_repeats

_CONNECT_SECONDS = 5.0
_MOST_IDLE = 256
_PORTS = {"http": 80, "https": 443}
_FIRST_ERROR = 300
_KEY_LETTERS = 21
"""Of a call's key that its request ids begin with: tries of one call look alike in all logs."""

log = structlog.get_logger(__name__)


class CallClient:
    """Asks one controller."""

    def __init__(self, base_url: str, api_key: str = "") -> None:
        """Prepare; nothing is connected before the first call.

        Args:
            base_url: the controller, with or without `/v1`.
            api_key: sent as a bearer token when not empty.

        Raises:
            ConfigurationError: one of them cannot be sent.
        """
        self.base_url = base_url.rstrip("/").removesuffix("/v1")
        try:
            parts = urlsplit(self.base_url)
            self._port = parts.port or _PORTS[parts.scheme]
        except (ValueError, KeyError):
            raise _unusable("LLMZOO_BASE_URL", "it is no http or https URL") from None
        if not self.base_url.isascii() or not api_key.isascii() or not api_key.isprintable():
            raise _unusable("LLMZOO_API_KEY or LLMZOO_BASE_URL", "it holds letters beyond ASCII")
        self._host = parts.hostname or ""
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        lines = [
            f"POST {parts.path}{CHAT_PATH} HTTP/1.1",
            f"host: {parts.netloc.rpartition('@')[2]}",
            "content-type: application/json",
            "accept: application/json",
            "accept-encoding: identity",
            f"{PRIORITY_HEADER}: {Priority.BATCH.header}",
        ]
        if api_key:
            lines.append(f"authorization: Bearer {api_key}")
        self._head = "\r\n".join(lines).encode()
        self._idle: deque[CallConnection] = deque()
        self._closed = False

    async def chat(self, body: bytes, key: str) -> Answer:
        """Return the answer to a chat request under an Idempotency-Key.

        Raises:
            APIError: the server answered with an error. Unavailable: no connection.
            UpstreamFailed: it broke off. MalformedAnswer: it is no chat completion.
        """
        # Random, so that tries differ; not secret.
        request_id = f"{key[:_KEY_LETTERS]}-{random.getrandbits(32):08x}"
        told = (
            f"\r\nidempotency-key: {key}\r\n{REQUEST_ID_HEADER}: {request_id}"
            f"\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        began = time.monotonic()
        facts: dict[str, object] = {}
        try:
            answer = await self._answer(self._head + told.encode("ascii") + body)
            facts = _facts(answer)
        except LLMZooError as fault:
            # Its message may quote what was asked.
            why = loggable(str(fault.code or type(fault).__name__))
            facts = {"status": fault.status, "error": why}
            raise
        else:
            return answer
        finally:
            took = round((time.monotonic() - began) * 1000, 1)
            log.info("call", request_id=request_id, duration_ms=took, **facts)

    def close(self) -> None:
        """Close the connections that are idle, and each other one at its call's end."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    async def _answer(self, request: bytes) -> Answer:
        """Return what a request is answered; raises as `chat`."""
        connection = await self._exchange(request)
        headers, content = connection.headers, connection.body
        if connection.status >= _FIRST_ERROR:
            raise api_error(connection.status, headers, content)
        try:
            answer: Any = orjson.loads(content)
        except orjson.JSONDecodeError:
            answer = None
        if not isinstance(answer, dict):
            msg = f"{self.base_url} answered with something that is no JSON object."
            raise MalformedAnswer(msg)
        reply = read_answer(
            cast("dict[str, Any]", answer), self.base_url, headers.get(REQUEST_ID_HEADER, "")
        )
        repeats = read_repeats(headers.get(REPEATED_HEADER))
        return replace(reply, replayed=REPLAYED_HEADER in headers, repeats=repeats)

    async def _exchange(self, request: bytes) -> CallConnection:
        """Return the connection with the answer read from it."""
        while True:
            # The one used last is the one least likely to have been closed.
            reused = bool(self._idle)
            connection = self._idle.pop() if reused else await self._connect()
            try:
                await connection.exchange(request)
            except UpstreamFailed:
                if reused and not connection.answered:
                    continue
                raise
            if connection.open:
                self._give_back(connection)
            return connection

    def _give_back(self, connection: CallConnection) -> None:
        if self._closed or len(self._idle) >= _MOST_IDLE:
            connection.close()
        else:
            self._idle.append(connection)

    async def _connect(self) -> CallConnection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                _, connection = await loop.create_connection(
                    lambda: CallConnection(self.base_url), self._host, self._port, ssl=self._tls
                )
        except (OSError, TimeoutError) as fault:
            why = str(fault) or "no connection in time"
            raise Unavailable(f"Nothing answers at {self.base_url} ({why}).") from fault
        return connection


def _facts(answer: Answer) -> dict[str, object]:
    """Return what the log tells of an answer."""
    return {
        "status": 200,
        "model": loggable(answer.model),
        "tokens_in": answer.usage.get("prompt_tokens"),
        "tokens_out": answer.usage.get("completion_tokens"),
    }


def _unusable(name: str, what: str) -> ConfigurationError:
    return ConfigurationError(f"{name}: {what}.", param=name)
