"""One try of one request on one worker, from its dispatch to its last frame.

Owns the lease, the connection, the decoder and the ledger of the try, and gives all of them back
in `close`: the only place where a request's traces are wiped. Knows no other worker.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import orjson

from services.controller.fleet.member import Lease, Member
from services.controller.relay.aborts import Aborts
from services.controller.relay.ledger import Ledger
from services.controller.upstream.connection import Connection
from services.controller.upstream.pool import Unreachable, UpstreamPool
from shared.errors import LLMZooError, Overloaded, Unavailable, UpstreamFailed
from shared.protocol.frames import (
    MEDIA_TYPE,
    EndFrame,
    ErrorFrame,
    Frame,
    FrameDecoder,
    FrameError,
    KeepaliveFrame,
    StartFrame,
)
from shared.protocol.priority import Priority

MAX_ERROR_BYTES = 1024 * 1024
_OK, _UNAUTHORIZED, _FORBIDDEN, _FULL, _UNAVAILABLE, _SERVER_ERROR = 200, 401, 403, 429, 503, 500


@dataclass(frozen=True, slots=True)
class Call:
    """A client's request, as far as the controller looks into it.

    `arrived` is when its last byte came, in seconds of the monotonic clock.
    """

    id: str
    path: str
    model: str
    stream: bool
    body: bytes
    arrived: float
    priority: Priority = Priority.INTERACTIVE


class Refused(Exception):
    """The worker refused the request for the caller's fault; its answer is passed on as it is."""

    def __init__(self, status: int, body: bytes, retry_after: str = "") -> None:
        """Keep the answer."""
        super().__init__(f"refused with {status}")
        self.status = status
        self.body = body
        self.retry_after = retry_after


class Exchange:
    """A try; `open` it, `read` frames, `close` it whatever happened."""

    def __init__(self, worker: Member, request_id: str, pool: UpstreamPool, aborts: Aborts) -> None:
        """Take a place on the worker."""
        self.worker = worker
        self.ledger = Ledger()
        self.sent_at = 0.0
        self._request_id = request_id
        self._pool = pool
        self._aborts = aborts
        self._lease = Lease(worker)
        self._decoder = FrameDecoder()
        self._connection: Connection | None = None
        self._pending: list[Frame] = []
        self._fault: UpstreamFailed | None = None
        self._sent = self._finished = False

    async def open(self, call: Call, headers: dict[str, str]) -> StartFrame:
        """Send the request and wait until the worker has admitted it.

        Raises:
            Refused: the request is at fault.
            Overloaded: the worker is full. LLMZooError: any other fault of the worker.
        """
        self._sent = True
        try:
            self._connection = await self._pool.request(
                self.worker.origin, call.path, headers, call.body
            )
        except Unreachable:
            self._sent = False
            raise
        self.sent_at = self._connection.sent_at
        if self._connection.status != _OK:
            await self._raise_status(self._connection)
        if self._connection.headers.get(b"content-type", b"").split(b";")[0] != MEDIA_TYPE.encode():
            msg = "The worker's answer is no frames."
            raise UpstreamFailed(msg)
        while True:
            frames = await self.read()
            for index, frame in enumerate(frames):
                match frame:
                    case KeepaliveFrame():
                        continue
                    case StartFrame():
                        self._pending = frames[index + 1 :]
                        return frame
                    case ErrorFrame():
                        raise _first_frame_fault(frame)
                    case _:
                        msg = "The worker's first frame is not 'start'."
                        raise UpstreamFailed(msg)

    async def read(self) -> list[Frame]:
        """Return the frames that arrived since the last call, at least one.

        Raises:
            UpstreamFailed: no frames, a repeated or late one, or the end without `end`.
            UpstreamTimeout: silence.
        """
        if self._pending:
            frames, self._pending = self._pending, []
            return frames
        assert self._connection is not None
        frames: list[Frame] = []
        while not frames:
            if self._fault is not None:
                raise self._fault
            piece = await self._connection.read()
            if not piece:
                msg = "The worker ended its answer before the last frame."
                raise UpstreamFailed(msg)
            # Frames before a malformed one are good: the fault is raised at the next call.
            try:
                for frame in self._decoder.feed(piece):
                    frames.append(frame)
            except FrameError as fault:
                self._fault = UpstreamFailed(f"The worker sent {fault}.")
        self._finished = isinstance(frames[-1], EndFrame | ErrorFrame)
        return frames

    def close(self) -> None:
        """Give everything back; a request without its last frame is aborted on the worker."""
        self._lease.release()
        if self._connection is not None:
            self._connection.release(complete=self._finished)
        if self._sent and not self._finished:
            self._aborts.send(self.worker.origin, self._request_id)

    async def _raise_status(self, connection: Connection) -> None:
        """Raise what a status other than 200 means."""
        body = bytearray()
        while piece := await connection.read():
            body += piece
            if len(body) > MAX_ERROR_BYTES:
                msg = f"The worker answered {connection.status} with an endless body."
                raise UpstreamFailed(msg)
        self._finished = True
        retry_after = connection.headers.get(b"retry-after", b"").decode("latin-1")
        status = connection.status
        ours = status in {_UNAUTHORIZED, _FORBIDDEN, _FULL} or status >= _SERVER_ERROR
        if status < 400 or ours:  # noqa: PLR2004 - 2xx, 3xx
            raise _worker_fault(status, float(retry_after) if retry_after.isdigit() else None)
        raise Refused(status, bytes(body), retry_after)


def error_object(frame: ErrorFrame) -> dict[str, Any]:
    """Return the body that tells a client of an error frame."""
    return {"error": frame.error}


def retry_after_header(frame: ErrorFrame) -> str:
    """Return the header's value, in whole seconds; empty when the worker names no time."""
    return "" if frame.retry_after is None else str(max(1, math.ceil(frame.retry_after)))


def _first_frame_fault(frame: ErrorFrame) -> Exception:
    if frame.status == _FULL or frame.status >= _SERVER_ERROR:
        return _worker_fault(frame.status, frame.retry_after)
    return Refused(frame.status, orjson.dumps(error_object(frame)), retry_after_header(frame))


def _worker_fault(status: int, retry_after: float | None) -> LLMZooError:
    match status:
        case 429:
            return Overloaded("All places of this model are taken.", retry_after=retry_after or 1.0)
        case 503:
            return Unavailable(
                "The worker is not ready for this model.", retry_after=retry_after or 1.0
            )
        case _:
            return UpstreamFailed(f"The worker answered with status {status}.")
