"""The connection of one reader of a framed answer.

Owns the bytes of the HTTP answer, and how it came that nothing more is written to it. Knows no
answer.
"""

from __future__ import annotations

import asyncio
from enum import Enum, auto
from typing import Self

from starlette.types import Scope, Send

from services.worker.exchange import begin_body, send_body
from shared.errors import TakenOver
from shared.http.departure import Departure, departure_of
from shared.protocol.frames import MEDIA_TYPE, ErrorFrame, encode


class Release(Enum):
    """Why a reader gets nothing more."""

    ENDED = auto()  # it has everything
    TAKEN_OVER = auto()  # another one reads in its place
    GONE = auto()  # its connection is closed


class FrameReader:
    """Who reads an answer at present, or did.

    Attributes:
        request_id: of the request that reads.
        departure: tells when its client has gone.
        live: it has all that was said before and gets what comes as it comes.
        released: set, or an exception, once nothing more is written by the answer.
    """

    def __init__(self, send: Send, departure: Departure, request_id: str) -> None:
        """Write with `send`; nothing was sent yet."""
        self.request_id = request_id
        self.departure = departure
        self.live = False
        self.released: asyncio.Future[Release] = asyncio.get_running_loop().create_future()
        self._send = send

    @classmethod
    def of(cls, scope: Scope, send: Send) -> Self:
        """Return the reader who sends a request."""
        return cls(send, departure_of(scope), scope["state"]["request_id"])

    def release(self, why: Release) -> None:
        """Let it go, for the first reason that there is."""
        if not self.released.done():
            self.released.set_result(why)

    def fail(self, fault: BaseException) -> None:
        """Let it go with a fault that nobody foresaw."""
        if not self.released.done():
            self.released.set_exception(fault)

    async def open(self) -> None:
        """Begin the answer."""
        await begin_body(self._send, 200, MEDIA_TYPE)

    async def write(self, frames: bytes) -> None:
        """Send frames, as soon as the connection takes them."""
        await send_body(self._send, frames, more=True)

    async def close(self) -> None:
        """End the answer as it came to be released.

        Raises:
            Exception: what it failed with; the connection must be cut.
        """
        match await self.released:
            case Release.GONE:
                return
            case Release.TAKEN_OVER:
                fault = TakenOver("Another one reads this answer now.")
                await self.write(encode(ErrorFrame(fault.status, fault.as_openai()["error"])))
            case Release.ENDED:
                pass
        await send_body(self._send, b"", more=False)
