"""One external server: whole answers and streams.

Owns what is a good answer of an endpoint and what of it reaches the client. Letting calls in is
the admission's business, sending them that of the attempts.
"""

from __future__ import annotations

from typing import cast

import orjson
from starlette.types import Send

from services.controller.endpoints.admission import Admission, Visit
from services.controller.endpoints.attempts import Attempts, read_whole
from services.controller.endpoints.config import EndpointConfig, EndpointModel, Prices
from services.controller.endpoints.events import EventStream
from services.controller.endpoints.request import endpoint_request
from services.controller.endpoints.usage import Usage, told
from services.controller.relay.answer import EVENTS, Answer, Headers, encoded, send_answer
from services.controller.relay.backend import Settle
from services.controller.relay.call import Call
from services.controller.upstream.connection import Connection
from shared.errors import LLMZooError, MalformedAnswer, NotFound
from shared.protocol import sse

MAX_ANSWER_BYTES = 64 * 1024 * 1024
_BYTES_A_TOKEN = 4


class Endpoint:
    """A server of the endpoints file."""

    def __init__(self, config: EndpointConfig, admission: Admission, attempts: Attempts) -> None:
        """Serve by these."""
        self.name = config.name
        self._prices = config.prices
        self._admission = admission
        self._attempts = attempts

    @property
    def available(self) -> bool:
        """Return whether it is not put aside."""
        return self._admission.available

    def prices_of(self, model: EndpointModel) -> Prices | None:
        """Return what a model's tokens cost, if the file says it."""
        return model.prices or self._prices

    async def complete(self, call: Call, model: EndpointModel, settle: Settle) -> Answer:
        """Return the whole answer to a call, or a refusal of its own, passed on.

        Raises:
            LLMZooError: it cannot be had; nothing was sent to the client.
        """
        request = endpoint_request(call, model.name)
        async with self._admission.visit(request.guess, stream=False) as visit:
            opened = await self._attempts.open(request, visit)
            if isinstance(opened, Answer):
                settle(0)
                return opened
            visit.first_byte()
            body = await read_whole(opened, f"The endpoint '{self.name}'", MAX_ANSWER_BYTES)
            usage = told(self._checked(opened, body))
            visit.charged = usage.total if usage else request.guess.prompt + _tokens(body)
            settle(visit.charged)
            self._count(usage, model, call)
            return Answer(opened.status, body)

    async def stream(
        self, call: Call, model: EndpointModel, settle: Settle, send: Send, told: Headers
    ) -> None:
        """Send the answer as its events come; a late fault becomes the last event, without [DONE].

        Raises:
            NotFound: the rest of an answer is asked for, which no endpoint keeps.
            LLMZooError: it cannot be had; nothing was sent to the client.
        """
        if call.last_event is not None:
            msg = f"The endpoint '{self.name}' keeps no answer to go on with."
            raise NotFound(msg, code="answer_not_found", param="Last-Event-ID")
        request = endpoint_request(call, model.name)
        async with self._admission.visit(request.guess, stream=True) as visit:
            opened = await self._attempts.open(request, visit)
            if isinstance(opened, Answer):
                settle(0)
                await send_answer(send, opened, told)
                return
            events = EventStream(self.name)
            try:
                self._require(opened, b"text/event-stream")
                head = [*encoded(EVENTS), *encoded(told)]
                await _relay(opened, events, visit, send, head)
            finally:
                opened.release(complete=events.done)
                usage = events.usage()
                visit.charged = usage.total if usage else request.guess.prompt + events.count
                settle(visit.charged)
                if events.count:
                    self._count(usage, model, call)

    def _count(self, usage: Usage | None, model: EndpointModel, call: Call) -> None:
        self._admission.measures.count(usage, self.prices_of(model))
        call.facts["endpoint"] = self.name
        if usage is not None:
            call.facts["tokens_in"], call.facts["tokens_out"] = usage.prompt, usage.completion

    def _checked(self, connection: Connection, body: bytes) -> dict[str, object]:
        """Return the JSON object that a whole answer is. Raises MalformedAnswer."""
        self._require(connection, b"application/json")
        try:
            answer: object = orjson.loads(body)
        except orjson.JSONDecodeError:
            answer = None
        if not isinstance(answer, dict):
            raise self._malformed("an answer that is no JSON object")
        return cast("dict[str, object]", answer)

    def _require(self, connection: Connection, media_type: bytes) -> None:
        headers = connection.headers
        if headers.get(b"content-encoding", b"identity") != b"identity":
            raise self._malformed("an encoded answer, which was not asked for")
        found = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
        if found != media_type:
            kind = found.decode("latin-1")[:100] or "something untyped"
            raise self._malformed(f"{kind} in the place of {media_type.decode()}")

    def _malformed(self, what: str) -> MalformedAnswer:
        return MalformedAnswer(f"The endpoint '{self.name}' answered with {what}.")


async def _relay(
    connection: Connection,
    events: EventStream,
    visit: Visit,
    send: Send,
    head: list[tuple[bytes, bytes]],
) -> None:
    """Pass events on; the head goes out with the first, so that a fault before it has a status."""
    started = False
    try:
        while not events.done:
            piece = await connection.read()
            if not piece:
                events.end()
                break
            whole = events.feed(piece)
            if whole and not started:
                visit.first_byte()
                await send({"type": "http.response.start", "status": 200, "headers": head})
                started = True
            if whole:
                await send({"type": "http.response.body", "body": whole, "more_body": True})
            if events.fault is not None:
                raise events.fault
    except LLMZooError as fault:
        if not started:
            raise
        visit.fault = fault
        body = b"" if events.told_error() else sse.event(fault.as_openai())
    else:
        body = b""
    await send({"type": "http.response.body", "body": body})


def _tokens(body: bytes) -> int:
    return len(body) // _BYTES_A_TOKEN
