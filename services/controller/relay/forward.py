"""Passing a worker's frames on to the client.

Owns the two forms of an answer: a stream of events, and one JSON body. The bytes come ready-made
and are not parsed.
"""

from __future__ import annotations

import orjson
from starlette.types import Send

from services.controller.metrics import Meter
from services.controller.relay.answer import EVENTS, Answer, Headers, encoded, refusal
from services.controller.relay.event_relay import EventRelay
from services.controller.relay.exchange import Exchange, error_object, retry_after_header
from shared.protocol.frames import EndFrame, ErrorFrame, TokensFrame


async def relay_stream(send: Send, told: Headers, exchange: Exchange, meter: Meter) -> None:
    """Send the answer as server-sent events; a fault becomes the last event, without [DONE]."""
    head = [*encoded(EVENTS), *encoded(told)]
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
