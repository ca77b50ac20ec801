"""One try of one request on one worker, from its dispatch to its last frame.

Owns the lease, the connection and the decoder of the try, and gives all of them back in `close`:
the only place where a request's traces are wiped. Knows no other worker and no ledger.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from services.controller.fleet.lease import Lease
from services.controller.relay.aborts import Aborts
from services.controller.relay.deadline import NO_DEADLINE, deadline_exceeded
from services.controller.relay.errand import Errand
from services.controller.relay.loss import MalformedFrames, frame_loss, is_workers_fault
from services.controller.relay.refusal import Refused, first_frame_fault, status_fault
from services.controller.upstream.connection import Connection
from services.controller.upstream.pool import Unreachable, UpstreamPool
from shared.errors import (
    DeadlineExceeded,
    LLMZooError,
    Overloaded,
    Unavailable,
    UpstreamFailed,
    UpstreamTimeout,
)
from shared.protocol.frames import (
    MEDIA_TYPE,
    EndFrame,
    ErrorFrame,
    Frame,
    FrameDecoder,
    KeepaliveFrame,
    LedgerFrame,
    StartFrame,
)

SUSPICIOUS_SECONDS = 1.5
"""Of silence, from a worker that owes beats; one that lives sends a keepalive a second."""

MAX_ERROR_BYTES = 1024 * 1024
_OK = 200


class Exchange:
    """A try; `open` it, `take` frames, `close` it whatever happened."""

    def __init__(self, lease: Lease, pool: UpstreamPool, aborts: Aborts) -> None:
        """Try on the worker of a lease, which is given back at the end."""
        self.worker = lease.member
        self.sent_at = 0.0
        self._request_id = self._key = ""
        self._pool = pool
        self._aborts = aborts
        self._lease = lease
        lease.lost = self._suspect
        self._decoder = FrameDecoder()
        self._connection: Connection | None = None
        self._pending: list[Frame] = []
        self._fault: LLMZooError | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._part_since = 0.0
        self._sent = self._finished = self._prefilled = self._closed = False

    async def open(self, errand: Errand) -> StartFrame:
        """Send the request and wait until the worker has admitted it.

        Raises:
            Refused: the request is at fault.
            Overloaded: the worker is full. LLMZooError: any other fault of the worker.
        """
        try:
            start = await self._open(errand)
        except Unreachable:
            self._sent = False
            self._lease.failed(certain=True)
            raise
        except Refused as refusal:
            refusal.worker = self.worker.incarnation
            self._lease.succeeded()
            raise
        except Overloaded:
            self._lease.succeeded()
            raise
        except (Unavailable, DeadlineExceeded):
            raise  # it says itself that it is not ready; or it was given too little time
        except LLMZooError:
            self._lease.failed()
            raise
        self._lease.succeeded()
        return start

    async def open_again(self, errand: Errand) -> StartFrame:
        """Send another request to the same worker, in place of one whose connection is lost.

        Raises:
            as `open`.
        """
        if self._connection is not None:
            self._connection.release(complete=False)
            self._connection = None
        self._decoder = FrameDecoder()
        self._part_since = 0.0
        self._pending = []
        self._fault = None
        self._finished = False
        return await self.open(errand)

    async def ledger(self, number: int) -> LedgerFrame:
        """Return the frame that follows on `start` where an answer is taken over behind `number`.

        Raises:
            UpstreamFailed: another one follows, or one of another place, or as `take`.
        """
        while True:
            for index, frame in enumerate(frames := await self._frames()):
                match frame:
                    case KeepaliveFrame():
                        continue
                    case LedgerFrame() if frame.last_sequence_number == number:
                        self._pending = frames[index + 1 :]
                        return frame
                    case _:
                        msg = f"no account of the {number} frames before those that follow"
                        raise MalformedFrames(f"The worker sent {msg}.")

    def take(self) -> list[Frame]:
        """Return the frames that arrived since the last call, nothing where there is none yet.

        Raises:
            UpstreamFailed: no frames, or the end without `end`. UpstreamTimeout: silence.
            HandedBack, EngineFault: the worker does not go on.
        """
        try:
            return self._take()
        except LLMZooError as fault:
            if is_workers_fault(fault):
                self._lease.failed()
            raise

    async def change(self) -> None:
        """Wait until there may be something to take."""
        assert self._connection is not None
        await self._connection.change()

    def wake(self) -> None:
        """Let whoever waits look again, though nothing came."""
        if self._connection is not None:
            self._connection.wake()

    @property
    def broken(self) -> bool:
        """Return whether nothing more will come than what is there already."""
        return self._fault is not None or (self._connection is not None and self._connection.broken)

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever there may be something to take, until the end."""
        assert self._connection is not None
        self._connection.listener = listener

    @property
    def heard_at(self) -> float:
        """When the last byte came, in seconds of the event loop's clock."""
        return 0.0 if self._connection is None else self._connection.heard_at

    def note_token(self) -> None:
        """Note that a token came: the prompt is no work any more."""
        if not self._prefilled:
            self._prefilled = True
            self._lease.prefilled()

    def leave(self) -> None:
        """Give everything back, and let the worker go on with what it has begun."""
        self._sent = False
        self.close()

    def close(self) -> None:
        """Give everything back; a request without its last frame is aborted on the worker."""
        if self._closed:
            return
        self._closed = True
        if self._alarm is not None:
            self._alarm.cancel()
        self._lease.release()
        if self._connection is not None:
            self._connection.release(complete=self._finished)
        if self._sent and not self._finished:
            self._aborts.send(self.worker.origin, self._request_id, self._key)

    async def _open(self, errand: Errand) -> StartFrame:
        if errand.deadline != NO_DEADLINE and self._alarm is None:
            left = errand.deadline - time.monotonic()
            self._alarm = asyncio.get_running_loop().call_later(left, self._expire)
        self._sent, self._request_id, self._key = True, errand.request_id, errand.key
        self._connection = await self._pool.request(
            self.worker.origin, errand.path, errand.headers, errand.body, began=self._began
        )
        if self._fault is not None:
            raise self._fault
        self.sent_at = self._connection.sent_at
        if self._connection.status != _OK:
            await self._raise_status(self._connection)
        if self._connection.headers.get(b"content-type", b"").split(b";")[0] != MEDIA_TYPE.encode():
            msg = "The worker's answer is no frames."
            raise UpstreamFailed(msg)
        return await self._admission()

    async def _frames(self) -> list[Frame]:
        """Wait for the next frames."""
        while not (frames := self._take()):
            await self.change()
        return frames

    async def _admission(self) -> StartFrame:
        """Return the frame that says that the worker has admitted the request."""
        while True:
            for index, frame in enumerate(frames := await self._frames()):
                match frame:
                    case KeepaliveFrame():
                        continue
                    case StartFrame():
                        self._pending = frames[index + 1 :]
                        return frame
                    case ErrorFrame():
                        raise first_frame_fault(frame)
                    case _:
                        msg = "The worker's first frame is not 'start'."
                        raise MalformedFrames(msg)

    def _take(self) -> list[Frame]:
        if self._pending:
            frames, self._pending = self._pending, []
            return frames
        if self._fault is not None:
            raise self._fault
        assert self._connection is not None
        while (piece := self._connection.take()) is not None:
            if not piece:
                msg = "The worker ended its answer before the last frame."
                raise UpstreamFailed(msg)
            # Behind a part of a frame there may be the end of all, which is told but once.
            if frames := self._decode(piece):
                return frames
        return []

    def _decode(self, piece: bytes) -> list[Frame]:
        """Return the frames that a piece completes; raise a fault that stands before any."""
        frames = self._decoder.feed(piece)
        if frames:
            self._part_since = 0.0
        elif self._decoder.pending:
            self._check_part()
        if self._decoder.fault is not None:
            # Frames before a malformed one are good: the fault is raised at the next call.
            self._fault = MalformedFrames(f"The worker sent {self._decoder.fault}.")
        elif frames:
            last = frames[-1]
            self._finished = isinstance(last, EndFrame | ErrorFrame)
            if type(last) is ErrorFrame and (loss := frame_loss(last)) is not None:
                # Frames before it are good as well.
                self._fault = loss
                del frames[-1]
        if not frames and self._fault is not None:
            raise self._fault
        return frames

    def _check_part(self) -> None:
        """Raise if the bytes that come make no frame: that is silence as well."""
        now = time.monotonic()
        self._part_since = self._part_since or now
        if now - self._part_since > self._pool.silence_timeout:
            seconds = self._pool.silence_timeout
            msg = f"The worker sent no whole frame for {seconds:g} seconds."
            raise UpstreamTimeout(msg)

    def _began(self, connection: Connection) -> None:
        """Know the connection before its answer begins: it may never."""
        self._connection = connection

    def _expire(self) -> None:
        """End it at its deadline, in the place where it is read."""
        self._fault = deadline_exceeded()
        if self._connection is not None:
            self._connection.fail(self._fault)

    def _suspect(self) -> None:
        """Take the worker for dead, which owes beats, unless frames still come from it."""
        if self._connection is not None and not self._finished:
            self._connection.fail_if_silent(SUSPICIOUS_SECONDS)

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
        raise status_fault(connection.status, bytes(body), retry_after)
