"""An answer on the frame channel: it goes on by itself, whoever reads it, and while nobody does.

Owns the task that brings frames from the generation into the log and to the present reader, and
the change of readers. The task waits for a reader that is slow, so nothing piles up but what the
engine may give anyway; without a reader it runs freely, as far as the log goes. How long an answer
without a reader is kept, `FramedAnswers` says.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

import structlog

from services.worker.answer_log import AnswerLog
from services.worker.frame_reader import FrameReader, Release
from services.worker.generation import Generation
from shared.errors import LLMZooError
from shared.protocol.frames import EndFrame, ErrorFrame, Frame, TokensFrame, encode

log = structlog.get_logger(__name__)

_MOST_AT_ONCE = 64
"""Frames of the log that are sent to a new reader in one piece."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose answer it is: the id of the API key that asked, and the digest of what it asked."""

    key: str
    body_digest: str


class FramedAnswer:
    """One answer.

    Attributes:
        id: the answer's.
        owner: who may have it.
        log: what was said so far.
        request_id: of the last request that read it.
        delivered: whether a reader was sent everything to the end.
        over: whether nothing more will be said.
    """

    def __init__(
        self,
        generation: Generation,
        frames: AsyncGenerator[Frame],
        said: AnswerLog,
        owner: Owner,
        alone: Callable[[FramedAnswer], None],
    ) -> None:
        """Take over a submitted generation, and its frames without the first.

        Args:
            generation: released by this at the end, whatever happens.
            frames: from the first frame of tokens on.
            said: where they are kept.
            owner: who may have them.
            alone: called when the answer has no reader any more, and when it ends or outgrows its
                log without one.
        """
        self.id = generation.request.id
        self.owner = owner
        self.log = said
        self.request_id = ""
        self.delivered = False
        self.over = False
        self._alone = alone
        self._generation: Generation | None = generation
        self._reader: FrameReader | None = None
        self._reader_changed = asyncio.Event()
        self._writing = self._interrupted = False
        self._task = asyncio.create_task(self._run(frames))
        # Not in the task: one that is cancelled before its first step never gets to its end.
        self._task.add_done_callback(self._end)

    async def serve(self, reader: FrameReader, after: int, ledger: bytes = b"") -> None:
        """Let this reader have all frames after that number, in the place of any other.

        Returns once it has everything, has gone or was followed by another.

        Args:
            reader: nothing was written to it.
            after: in the log.
            ledger: a frame to follow `start`.
        """
        self._part_from_reader(Release.TAKEN_OVER)
        self._reader, self.request_id = reader, reader.request_id
        self.delivered = False
        gone = partial(self.leave, reader)
        reader.departure.tell(gone)
        try:
            await reader.open()
            await self._catch_up(reader, self.log.start + ledger, after)
            await reader.close()
        finally:
            reader.departure.forget(gone)
            self.leave(reader)

    def leave(self, reader: FrameReader) -> None:
        """Note that this reader has gone, if it reads."""
        reader.release(Release.GONE)
        if self._reader is reader:
            self._part_from_reader(Release.GONE)
            self._alone(self)

    @property
    def read(self) -> bool:
        """Whether there is a reader."""
        return self._reader is not None

    def abort(self, reason: LLMZooError) -> None:
        """End before the engine's next step, with an error to the reader."""
        if self._generation is not None:
            self._generation.abort(reason)

    def dismiss(self) -> None:
        """End at once; a reader hears that it reads no more."""
        self._part_from_reader(Release.TAKEN_OVER)
        self._task.cancel()

    def stop(self) -> None:
        """End at once; a reader is cut off."""
        self._task.cancel()

    async def stopped(self) -> None:
        """Wait until nothing of it runs any more."""
        await asyncio.wait([self._task])

    async def _catch_up(self, reader: FrameReader, beginning: bytes, after: int) -> None:
        """Send what was said; from then on the task sends what comes."""
        piece, sent = beginning, 0
        while piece and not reader.released.done():
            await reader.write(piece)
            frames = self.log.since(after, sent, _MOST_AT_ONCE)
            piece, sent = b"".join(frames), sent + len(frames)
        if reader.released.done():
            return
        reader.live = True
        self._reader_changed.set()
        if self.over:
            self._deliver()

    async def _run(self, frames: AsyncGenerator[Frame]) -> None:
        async with aclosing(frames):
            async for frame in frames:
                encoded = encode(frame)
                while self._reader is not None and not self._reader.live:
                    self._reader_changed.clear()
                    await self._reader_changed.wait()
                # Between the log and the reader nothing is awaited: who takes over here finds in
                # the log what the other one may not have got.
                self._keep(frame, encoded)
                if self._reader is not None:
                    await self._write(self._reader, encoded)
                elif not self.log.whole:
                    self._alone(self)

    def _keep(self, frame: Frame, encoded: bytes) -> None:
        match frame:
            case TokensFrame():
                self.log.add(encoded)
            case EndFrame() | ErrorFrame():
                self.log.finish(encoded)
            case _:
                pass  # a sign of life is for who reads now

    async def _write(self, reader: FrameReader, encoded: bytes) -> None:
        """Send a frame, unless the reader is let go before it takes it."""
        self._writing = True
        try:
            await reader.write(encoded)
        except asyncio.CancelledError:
            # Meant for this frame alone, or for the whole task, or for both.
            if not self._interrupted or self._task.uncancel():
                raise
        finally:
            self._writing = self._interrupted = False

    def _part_from_reader(self, why: Release) -> None:
        reader, self._reader = self._reader, None
        if reader is None:
            return
        reader.release(why)
        self._reader_changed.set()
        if self._writing and not self._interrupted:
            self._interrupted = True
            self._task.cancel()

    def _deliver(self) -> None:
        self.delivered = True
        self._part_from_reader(Release.ENDED)
        self._alone(self)

    def _end(self, task: asyncio.Task[None]) -> None:
        """Free the engine's places, and let a reader go who has everything."""
        self.over = True
        if self._generation is not None:
            self._generation.release()
            # The log is bounded, and a long prompt is not in it.
            self._generation = None
        fault = None if task.cancelled() else task.exception()
        if fault is not None:
            log.error("answer_failed", request_id=self.request_id, exc_info=fault)
            self.log.drop()
        if self._reader is None:
            self._alone(self)
        elif fault is not None:
            self._reader.fail(fault)
        elif task.cancelled():
            self._part_from_reader(Release.GONE)
            self._alone(self)
        elif self._reader.live:
            self._deliver()
