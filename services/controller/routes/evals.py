"""`/v1/evals` and all below it: passed on to a ready evaluator, as plain ASGI.

Owns the choice of the evaluator, which headers pass in which direction, and bytes that go on as
they come, both ways, under the slower side's pace. Reads neither bodies nor answers.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

from starlette.types import Receive, Scope, Send

from services.controller.fleet.lease import Lease
from services.controller.fleet.member import Member
from services.controller.fleet.roster import Roster
from services.controller.relay.client_watch import ClientWatch
from services.controller.routing.ask import Ask
from services.controller.upstream.connection import Connection
from services.controller.upstream.origin import header_block
from services.controller.upstream.pool import Unreachable, UpstreamPool
from shared.errors import LLMZooError, NotFound, Unavailable
from shared.http.body import ClientGone
from shared.http.departure import departure_of
from shared.http.faults import send_error
from shared.protocol import sse
from shared.protocol.request_id import REQUEST_ID_HEADER
from shared.protocol.workers import State

PREFIX = "/v1/evals"
PRINCIPAL_HEADER = "x-llmzoo-principal"
RETRY_AFTER_SECONDS = 2.0
SILENCE_SECONDS = 300.0
"""Longest silence of an evaluator: the events of a run may be minutes apart."""

# Of one connection only (RFC 9110, 7.6.1), or set anew for the next one.
_HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection"}
    | {"te", "trailer", "transfer-encoding", "upgrade", "expect", "host", "content-length"}
)
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_OURS = "x-llmzoo-"


def is_evals_path(path: str) -> bool:
    """Return whether an evaluator serves `path`."""
    return path == PREFIX or path.startswith(f"{PREFIX}/")


class EvalsRoute:
    """Answers every request of these paths by an evaluator's answer."""

    def __init__(self, roster: Roster, pool: UpstreamPool, authorization: dict[str, str]) -> None:
        """Pass requests on with the fleet's own `authorization`."""
        self._roster = roster
        self._pool = pool
        self._authorization = authorization

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        answer = _AnswerSender(send)
        try:
            target = _target(scope)
            headers = self._headers(scope)
            upload = _Upload(scope)
            with ClientWatch(departure_of(scope)):
                async with upload.reading(receive):
                    lease, connection = await self._open(scope["method"], target, headers, upload)
                    try:
                        await connection.head()
                        await answer.pass_on(connection)
                    finally:
                        connection.release(complete=answer.complete)
                        lease.release()
        except ClientGone:
            pass
        except LLMZooError as fault:
            await answer.fail(fault)

    async def _open(
        self, method: str, target: str, headers: dict[str, str], upload: _Upload
    ) -> tuple[Lease, Connection]:
        """Return a connection to an evaluator that the request, or its head, was sent on.

        Raises:
            Unavailable: none is ready, or none of them can be reached.
            UpstreamFailed, UpstreamTimeout: one was reached, and failed.
        """
        ready = self._ready()
        for evaluator in ready:
            lease = Lease(evaluator, "", Ask(), lambda _: None)
            try:
                connection = await self._send(evaluator, method, target, headers, upload)
            except Unreachable:
                lease.release()
            except BaseException:
                lease.release()
                raise
            else:
                upload.start(connection)
                return lease, connection
        what = "can be reached" if ready else "is ready"
        raise Unavailable(
            f"No evaluator {what} now.", code="no_evaluator", retry_after=RETRY_AFTER_SECONDS
        )

    async def _send(
        self, evaluator: Member, method: str, target: str, headers: dict[str, str], upload: _Upload
    ) -> Connection:
        """Send a request that changes nothing on a kept connection, any other on one of its own.

        The latter could have been executed when a kept one turns out to be closed.
        """
        if method in _SAFE and not upload.framing:
            return await self._pool.request(
                evaluator.origin, target, header_block(headers.items()), b"", method
            )
        headers = {**headers, **upload.framing, "connection": "close"}
        return await self._pool.begin(evaluator.origin, target, headers, method)

    def _ready(self) -> list[Member]:
        """Return the ready evaluators, the least busy ones first."""
        ready = [
            member
            for member in self._roster.members()
            if member.record.kind == "evaluator" and member.state is State.READY
        ]
        random.shuffle(ready)
        return sorted(ready, key=lambda member: member.inflight)

    def _headers(self, scope: Scope) -> dict[str, str]:
        """Return the client's headers that go on, and ours."""
        headers = _passing(scope["headers"])
        for name in [name for name in headers if name.startswith(_OURS)]:
            del headers[name]
        headers.pop("authorization", None)
        headers |= self._authorization
        headers[REQUEST_ID_HEADER] = scope["state"]["request_id"]
        # The guard sets it; without one nobody has asked who it is.
        principal: Any = scope["state"].get("principal")
        if principal is not None:
            headers[PRINCIPAL_HEADER] = str(principal.id)
        return headers


class _Upload:
    """The request's body on its way to the evaluator, at the evaluator's pace."""

    def __init__(self, scope: Scope) -> None:
        length = next((v for n, v in scope["headers"] if n == b"content-length"), None)
        self._chunked = any(name == b"transfer-encoding" for name, _ in scope["headers"])
        self._connection: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()
        self.framing: dict[str, str] = {}
        if self._chunked:
            self.framing["transfer-encoding"] = "chunked"
        elif length is not None:
            self.framing["content-length"] = length.decode("latin-1")

    def start(self, connection: Connection) -> None:
        """Send the body on this connection."""
        self._connection.set_result(connection)

    @asynccontextmanager
    async def reading(self, receive: Receive) -> AsyncGenerator[None]:
        """Pass the body on for the time of the context."""
        task = asyncio.create_task(self._pass_on(receive))
        try:
            yield
        finally:
            task.cancel()

    async def _pass_on(self, receive: Receive) -> None:
        more = bool(self.framing)
        while more and (message := await receive())["type"] == "http.request":
            connection = await self._connection
            piece, more = message.get("body", b""), message.get("more_body", False)
            if self._chunked:
                piece = b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b""
                piece += b"" if more else b"0\r\n\r\n"
            await connection.write(piece, more=more)


class _AnswerSender:
    """The client's side of an answer: its head, its bytes, and how a fault is told."""

    def __init__(self, send: Send) -> None:
        self.complete = False
        self._send = send
        self._started = self._events = False

    async def pass_on(self, connection: Connection) -> None:
        """Send the answer as it comes."""
        headers = _passing(connection.headers.items())
        headers.pop(REQUEST_ID_HEADER, None)
        self._events = headers.get("content-type", "").startswith("text/event-stream")
        length = connection.headers.get(b"content-length")
        if length is not None:
            headers["content-length"] = length.decode("latin-1")
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await self._send(
            {"type": "http.response.start", "status": connection.status, "headers": raw}
        )
        self._started = True
        while piece := await connection.read():
            await self._send({"type": "http.response.body", "body": piece, "more_body": True})
        self.complete = True
        await self._send({"type": "http.response.body", "body": b""})

    async def fail(self, fault: LLMZooError) -> None:
        """Tell of a fault: by an answer, by a last event, or by breaking off as well.

        The server closes the connection of an answer that is left without its end, so that the
        client does not take it for a whole one.
        """
        if not self._started:
            await send_error(self._send, fault)
        elif self._events:
            body = b"\n\n" + sse.event(fault.as_openai())
            await self._send({"type": "http.response.body", "body": body})


def _target(scope: Scope) -> str:
    """Return path and query as the client wrote them.

    Raises:
        NotFound: the path leads elsewhere by dots.
    """
    path: str = scope["path"]
    if any(part in {".", ".."} for part in path.replace("\\", "/").split("/")):
        msg = f"There is no {scope['method']} {path}."
        raise NotFound(msg)
    raw: bytes = scope.get("raw_path") or quote(path).encode()
    query: bytes = scope["query_string"]
    return (raw + b"?" + query if query else raw).decode("latin-1")


def _passing(headers: Any) -> dict[str, str]:
    """Return the headers that pass from one connection to the next; repeated ones are a list."""
    passing: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        passing[name] = f"{passing[name]}, {value}" if name in passing else value
    named = {each.strip().lower() for each in passing.get("connection", "").split(",")}
    for name in _HOP_BY_HOP | named:
        passing.pop(name, None)
    return passing
