"""Passing a worker's frames on to the client.

Owns the client's side of an answer: its head, its bytes, and how a fault is told once the head
is out. The bytes come ready-made and are not parsed. Awaiting `send` is the back-pressure: while
the client is slow, no frame is read.
"""

from __future__ import annotations

import orjson
from starlette.types import Send

from services.controller.metrics import Meter
from services.controller.relay.answer import Answer, Headers, encoded, refusal
from services.controller.relay.exchange import Exchange, error_object, retry_after_header
from shared.errors import LLMZooError
from shared.protocol import sse
from shared.protocol.frames import EndFrame, ErrorFrame, Frame, TokensFrame

_SSE_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


async def relay_stream(exchange: Exchange, meter: Meter, send: Send, told: Headers = ()) -> None:
    """Send the answer as server-sent events; a fault becomes the last event, without [DONE]."""
    head = [*_SSE_HEADERS, *encoded(told)]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    more = True
    while more:
        data: list[bytes] = []
        try:
            for frame in await exchange.read():
                more = _forward(frame, exchange, meter, data)
                if not more:
                    break
        except LLMZooError as fault:
            data.append(sse.event(fault.as_openai()))
            more = False
        # What arrived at once goes out at once.
        if data or not more:
            body = b"".join(data)
            await send({"type": "http.response.body", "body": body, "more_body": more})


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


def _forward(frame: Frame, exchange: Exchange, meter: Meter, data: list[bytes]) -> bool:
    """Append the frame's events to `data`; False says that it was the last one."""
    match frame:
        case TokensFrame():
            if exchange.record(frame):
                meter.generated(len(frame.token_ids))
                data.append(frame.data)
            return True
        case EndFrame():
            meter.finished()
            data.append(frame.data)
            return False
        case ErrorFrame():
            data.append(sse.event(error_object(frame)))
            return False
        case _:
            return True
