"""What framed answers have said so far, so that another reader can go on with one.

A log holds one answer's frames as bytes: its start, those of tokens by their numbers, its end. Owns
the bounds of one log and of all together, and what a reader who comes later is told of the tokens
before. Knows no socket and no engine.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence

from shared.protocol.frames import FrameDecoder, LedgerFrame, TokensFrame

_PART_OF_ALL = 8
"""Of the bytes of all logs, one may have no more than this part."""
_OVERHEAD = 2048
"""Bytes that an answer takes beside its frames, about."""
_ID_BYTES = 4


class LogSpace:
    """The bytes that all logs of a worker may take; finished answers give way, the oldest first."""

    def __init__(self, total_bytes: int) -> None:
        """Start empty."""
        self.used = 0
        self._total = total_bytes
        self._finished: dict[AnswerLog, Callable[[], None]] = {}

    def offer(self, log: AnswerLog, forget: Callable[[], None]) -> None:
        """Let a finished answer go for others: `forget` is called when its room is needed."""
        self._finished[log] = forget

    def withdraw(self, log: AnswerLog) -> None:
        """Offer it no more."""
        self._finished.pop(log, None)

    def take(self, log: AnswerLog, size: int) -> bool:
        """Give a log so many bytes more; False: it has had its share, or no room is left."""
        if log.size + size > self._total // _PART_OF_ALL:
            return False
        while self.used + size > self._total and self._finished:
            oldest = next(iter(self._finished))
            self._finished.pop(oldest)()
        if self.used + size > self._total:
            return False
        self.used += size
        return True


class AnswerLog:
    """One answer's frames.

    Attributes:
        before: number of the last frame that another worker has sent; 0 if there was none.
        last: number of the last frame of tokens.
        size: bytes that it takes of the space.
        whole: nothing is missing; False: it has outgrown its share, and holds nothing any more.
    """

    def __init__(
        self, space: LogSpace, start: bytes, token_ids: Sequence[Sequence[int]], before: int
    ) -> None:
        """Begin with the `start` frame and what came before it, by choice."""
        self.before = self.last = before
        self.size = 0
        self.whole = True
        self.start = start
        self._space = space
        self._token_ids = [array("I", ids) for ids in token_ids]
        self._frames: list[bytes] = []
        self._take(_OVERHEAD + len(start) + _ID_BYTES * sum(map(len, token_ids)))

    def add(self, frame: bytes) -> None:
        """Add the next frame of tokens."""
        self.last += 1
        self._add(frame)

    def finish(self, frame: bytes) -> None:
        """Add the last frame, which has no number."""
        self._add(frame)

    def since(self, number: int, skip: int, most: int) -> list[bytes]:
        """Return up to `most` of the frames after that number, without the first `skip`."""
        first = number - self.before + skip
        return self._frames[first : first + most]

    def ledger(self, until: int) -> LedgerFrame:
        """Return the tokens of all frames up to that number."""
        token_ids = [list(ids) for ids in self._token_ids]
        decoder = FrameDecoder()
        for raw in self._frames[: until - self.before]:
            for frame in decoder.feed(raw):
                assert isinstance(frame, TokensFrame)
                token_ids[frame.choice] += frame.token_ids
        return LedgerFrame(until, token_ids)

    def drop(self) -> None:
        """Hold nothing any more, and give the bytes back."""
        self.whole = False
        self._space.withdraw(self)
        self._space.used -= self.size
        self.size = 0
        self._frames, self._token_ids = [], []

    def _add(self, frame: bytes) -> None:
        if self.whole and self._take(len(frame)):
            self._frames.append(frame)

    def _take(self, size: int) -> bool:
        if not self._space.take(self, size):
            self.drop()
            return False
        self.size += size
        return True
