"""Passing a worker's frames on to the client.

Owns the two forms of an answer: a stream of events, and one JSON body. The bytes come ready-made
and are not parsed.
"""

from __future__ import annotations

import orjson
from starlette.types import Send

from services.controller.metrics import Meter
from services.controller.relay.answer import Answer, Headers, encoded, refusal
from services.controller.relay.event_relay import EventRelay
from services.controller.relay.exchange import Exchange, error_object, retry_after_header
from shared.protocol.frames import EndFrame, ErrorFrame, TokensFrame

_SSE_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


async def relay_stream(exchange: Exchange, meter: Meter, send: Send, told: Headers = ()) -> None:
    """Send the answer as server-sent events; a fault becomes the last event, without [DONE]."""
    head = [*_SSE_HEADERS, *encoded(told)]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await EventRelay(exchange, meter, send).run()


async def whole_answer(exchange: Exchange, meter: Meter) -> Answer:
    """Return the answer as one JSON body, or the worker's refusal.

    Raises:
        LLMZooError: the worker failed.
    """
    while True:
        for frame in await exchange.read():
            match frame:
                case TokensFrame() if exchange.record(frame):
                    meter.generated(len(frame.token_ids))
                case EndFrame():
                    meter.finished()
                    return Answer(200, frame.data)
                case ErrorFrame():
                    body = orjson.dumps(error_object(frame))
                    return refusal(frame.status, body, retry_after_header(frame))
                case _:
                    continue
