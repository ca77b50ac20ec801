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
from services.controller.relay.mover import Mover
from services.controller.relay.refusal import error_object, retry_after_header
from services.controller.relay.running_answer import RunningAnswer
from shared.errors import LLMZooError
from shared.protocol.frames import EndFrame, ErrorFrame, Frame, TokensFrame


async def relay_stream(
    send: Send, told: Headers, answer: RunningAnswer, mover: Mover, meter: Meter
) -> None:
    """Send the answer as server-sent events; a fault becomes the last event, without [DONE]."""
    head = [*encoded(EVENTS), *encoded(told)]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await EventRelay(answer, mover, meter, send).run()


async def whole_answer(answer: RunningAnswer, mover: Mover, meter: Meter) -> Answer:
    """Return the answer as one JSON body, or the worker's refusal.

    Raises:
        LLMZooError: the worker failed, and no other one goes on.
    """
    while True:
        try:
            whole = _collect(await answer.read(), answer, meter)
        except LLMZooError as fault:
            await mover.move(answer, fault)
        else:
            if whole is not None:
                return whole


def _collect(frames: list[Frame], answer: RunningAnswer, meter: Meter) -> Answer | None:
    """Enter frames into the ledger; return what the last one of all says."""
    for frame in frames:
        match frame:
            case TokensFrame() if answer.record(frame):
                meter.generated(len(frame.token_ids))
            case EndFrame():
                meter.finished()
                return Answer(200, frame.data)
            case ErrorFrame():
                body = orjson.dumps(error_object(frame))
                return refusal(frame.status, body, retry_after_header(frame))
            case _:
                continue
    return None
