"""Logprobs of an answer's tokens, told together with the text that the tokens are.

A token's entry comes as soon as text is shown that begins with it or after it: those of held
back text (half a character, what may begin a stop string) wait with it, and those of text that a
stop string has cut off never come. Owns that order. Knows no JSON.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from services.worker.engine.sequence import TokenLogprobs
from services.worker.token_pieces import TokenPieces

# As OpenAI and vLLM write the logprob of what cannot come; JSON has no infinity.
_LEAST = -9999.0


@dataclass(frozen=True, slots=True)
class RatedToken:
    """A token's text, its bytes (None: it has none) and its logprob."""

    text: str
    bytes: bytes | None
    logprob: float


@dataclass(frozen=True, slots=True)
class LogprobEntry:
    """One token of an answer; `top` are the likeliest at its place, the likeliest first.

    `offset`: where its text begins in the choice's text, in characters.
    """

    token: RatedToken
    top: tuple[RatedToken, ...]
    offset: int


Logprobs = tuple[LogprobEntry, ...] | None
"""Of some tokens; None: they were not asked for."""


class LogprobQueue:
    """The entries of one choice that wait for their text."""

    def __init__(self, pieces: TokenPieces) -> None:
        """Start with an empty text."""
        self._pieces = pieces
        self._waiting: deque[LogprobEntry] = deque()
        self._certain = self._shown = 0

    def add(self, token_id: int, logprobs: TokenLogprobs, text: str) -> None:
        """Take a token and the text that became certain with it."""
        # A token that begins within a character completes the one before it. Any other ends the
        # text by itself, after what the tokens before it may have left.
        own = self._pieces[token_id] or b""
        begun = len(text) - len(own.decode(errors="replace")) if _whole(own) else 0
        entry = LogprobEntry(
            self._rated(token_id, logprobs.logprob),
            tuple(self._rated(*each) for each in logprobs.top),
            self._certain + max(0, begun),
        )
        self._certain += len(text)
        self._waiting.append(entry)

    def show(self, text: str) -> tuple[LogprobEntry, ...]:
        """Return the entries that come with `text`, which is shown now."""
        self._shown += len(text)
        count = sum(entry.offset < self._shown for entry in self._waiting)
        return tuple(self._waiting.popleft() for _ in range(count))

    def flush(self) -> tuple[LogprobEntry, ...]:
        """Return the rest at the end of an answer that nothing has cut."""
        rest = tuple(self._waiting)
        self._waiting.clear()
        return rest

    def _rated(self, token_id: int, logprob: float) -> RatedToken:
        pieces = self._pieces
        return RatedToken(pieces.name(token_id), pieces[token_id], max(logprob, _LEAST))


def _whole(piece: bytes) -> bool:
    """Tell whether a piece is whole characters."""
    try:
        piece.decode()
    except UnicodeDecodeError:
        return False
    return bool(piece)
