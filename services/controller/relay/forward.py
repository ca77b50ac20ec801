"""Passing a worker's frames on to the client.

Owns the client's side of an answer: its head, its bytes, and how a fault is told once the head
is out. The bytes come ready-made and are not parsed. Awaiting `send` is the back-pressure: while
the client is slow, no frame is read.
"""

from __future__ import annotations

import orjson
from starlette.types import Send

from services.controller.metrics import Meter
from services.controller.relay.exchange import Exchange, error_object, retry_after_header
from shared.errors import LLMZooError
from shared.protocol import sse
from shared.protocol.frames import EndFrame, ErrorFrame, Frame, TokensFrame

_SSE_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


async def relay_stream(exchange: Exchange, meter: Meter, send: Send) -> None:
    """Send the answer as server-sent events; a fault becomes the last event, without [DONE]."""
    await send({"type": "http.response.start", "status": 200, "headers": _SSE_HEADERS})
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


async def relay_unary(exchange: Exchange, meter: Meter, send: Send) -> None:
    """Send the answer as one JSON body.

    Raises:
        LLMZooError: the worker failed; nothing was sent.
    """
    while True:
        for frame in await exchange.read():
            match frame:
                case TokensFrame() if exchange.record(frame):
                    meter.generated(len(frame.token_ids))
                case EndFrame():
                    meter.finished()
                    await send_json(send, 200, frame.data)
                    return
                case ErrorFrame():
                    body = orjson.dumps(error_object(frame))
                    await send_json(send, frame.status, body, retry_after_header(frame))
                    return
                case _:
                    continue


async def send_json(send: Send, status: int, body: bytes, retry_after: str = "") -> None:
    """Send a body that is JSON already."""
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    if retry_after:
        headers.append((b"retry-after", retry_after.encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


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
