"""Drafts: tokens that a sequence may well go on with, checked in one pass with its last token.

A draft is what followed the last time the sequence had the tokens that it ends with now (prompt
lookup: Saxena, "Prompt Lookup Decoding", 2023). The model computes what would be drawn after each
of its tokens; they count up to and with the first that the draft has missed, so a draft changes
when tokens come and never which. Owns the lookup, how many tokens are worth a try, and what of
them came true. Knows no tensor.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

from services.worker.engine.sequence import Drawn, Sequence

# The tokens at the end that must have stood together before. Fewer mislead more often than not.
_NGRAM = 2
# A draft that came true in full makes the next one so much longer, one that did not shorter by 1:
# the rule of transformers' assisted generation.
_FIRST_LENGTH, _LONGER = 1, 2
_BYTES = array("i").itemsize


@dataclass(slots=True)
class _History:
    """A sequence's tokens as bytes, in which three are found as fast as memory is read."""

    tokens: bytearray = field(default_factory=bytearray)
    length: int = _FIRST_LENGTH


class PromptLookup:
    """Makes drafts from what a sequence holds already."""

    def __init__(self, most: int) -> None:
        """Draft at most `most` tokens for a sequence and step; 0: none."""
        self._most = most
        self._histories: dict[Sequence, _History] = {}
        self.draft_tokens = 0
        self.accepted_tokens = 0

    def draft(self, sequence: Sequence, room: int) -> tuple[int, ...]:
        """Return at most `room` tokens that may follow; none where nothing is known.

        Penalties and least lengths change with each token what may come next, and so does not
        fit a check of several at once: such sequences get none.
        """
        most = min(self._most, room)
        if most <= 0 or sequence.params.penalises or sequence.too_short:
            return ()
        history = self._histories.setdefault(sequence, _History())
        _catch_up(history.tokens, sequence)
        draft = _continuation(history.tokens, min(most, history.length))
        self.draft_tokens += len(draft)
        return draft

    def count(self, sequence: Sequence, accepted: int) -> None:
        """Take note of how many tokens of the sequence's draft came true."""
        drafted = len(sequence.draft)
        if not drafted:
            return
        self.accepted_tokens += accepted
        history = self._histories[sequence]
        longer = history.length + (_LONGER if accepted == drafted else -1)
        history.length = min(max(1, longer), self._most)

    def release(self, sequence: Sequence) -> None:
        """Forget a sequence."""
        self._histories.pop(sequence, None)


def accepted(draft: tuple[int, ...], drawn: list[Drawn]) -> list[Drawn]:
    """Return what counts of the tokens drawn after the last token and each of the draft's.

    The first always does, and each other if the token before it is what the draft said.
    """
    for at, token_id in enumerate(draft):
        if drawn[at].token_id != token_id:
            return drawn[: at + 1]
    return drawn


def _catch_up(tokens: bytearray, sequence: Sequence) -> None:
    known, prompt = len(tokens) // _BYTES, len(sequence.prompt_ids)
    if known < prompt:
        tokens += array("i", sequence.prompt_ids[known:]).tobytes()
        known = prompt
    tokens += array("i", sequence.output_ids[known - prompt :]).tobytes()


def _continuation(tokens: bytearray, most: int) -> tuple[int, ...]:
    """Return what followed the last time; where that reaches the end, it goes round."""
    period = _period(tokens)
    if not period:
        return ()
    start = len(tokens) - period * _BYTES
    followed = array("i", tokens[start : start + most * _BYTES])
    return tuple(followed[at % len(followed)] for at in range(most))


def _period(tokens: bytearray) -> int:
    """Return how many tokens ago the last ones stood together before, 0 if they never did."""
    ngram = tokens[-_NGRAM * _BYTES :]
    end = len(tokens) - _BYTES
    while (at := tokens.rfind(ngram, 0, end)) % _BYTES and at >= 0:
        # Found across two tokens' bytes.
        end = at + len(ngram) - 1
    return (len(tokens) - len(ngram) - at) // _BYTES if at >= 0 else 0
