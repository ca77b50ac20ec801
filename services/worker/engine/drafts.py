"""Drafts: tokens that a sequence may well go on with, checked in one pass with its last token.

A draft is what followed the last time the sequence had the tokens that it ends with now (prompt
lookup: Saxena, "Prompt Lookup Decoding", 2023). The model computes what would be drawn after each
of its tokens; they count up to and with the first that the draft has missed, so a draft changes
when tokens come and never which. Owns the lookup, how many tokens are worth a try, and what of
them came true. Knows no tensor.
"""

from __future__ import annotations

from array import array

from services.worker.engine.sequence import Drawn, Sequence
from services.worker.engine.slots import Group

# The tokens at the end that must have stood together before. For each that the place before agrees
# in beyond, one more is worth a try: of SmolLM2's drafts two thirds come true in answers to
# questions, nine of ten where it repeats itself, and at temperature 1 it has next to none.
_NGRAM = 3
# Attention of all rows of a class takes longer when some have a draft: one token in so many rows
# makes up for it.
_WORTHWHILE = 4
_BYTES = array("i").itemsize


class PromptLookup:
    """Makes drafts from what sequences hold already, as bytes: three are found as fast as read."""

    def __init__(self, most: int) -> None:
        """Draft at most `most` tokens for a sequence and step; 0: none."""
        self._most = most
        self._tokens: dict[Sequence, bytearray] = {}
        self.drafted_tokens = 0
        self.accepted_tokens = 0

    def draft_rows(self, group: Group, most: int) -> int:
        """Give the rows of a class drafts of `most` tokens together, if enough have one.

        Each sequence's `computed` counts its last token already. Return how many tokens they are.
        """
        drafts: dict[Sequence, tuple[int, ...]] = {}
        drafted = 0
        for sequence in group.sequences:
            # A row does not grow for what may not come true.
            room = min(most - drafted, group.capacity - sequence.computed, sequence.remaining - 1)
            drafts[sequence] = self.draft(sequence, room)
            drafted += len(drafts[sequence])
        if drafted * _WORTHWHILE < len(drafts):
            return 0
        for sequence, draft in drafts.items():
            sequence.draft = draft
        return drafted

    def draft(self, sequence: Sequence, room: int) -> tuple[int, ...]:
        """Return at most `room` tokens that may follow; none where nothing is known.

        Penalties and least lengths change with each token what may come next, and so does not
        fit a check of several at once: such sequences get none.
        """
        most = min(self._most, room)
        if most <= 0 or sequence.params.penalises or sequence.too_short:
            return ()
        tokens = self._tokens.setdefault(sequence, bytearray())
        _catch_up(tokens, sequence)
        return _continuation(tokens, most)

    def settle(self, sequence: Sequence, accepted: int) -> None:
        """Take the sequence's draft away, of which so many tokens came true."""
        self.drafted_tokens += len(sequence.draft)
        self.accepted_tokens += accepted
        sequence.draft = ()

    def release(self, sequence: Sequence) -> None:
        """Forget a sequence, whatever it has a draft of."""
        self._tokens.pop(sequence, None)
        sequence.draft = ()


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
    before = _end_of_last(tokens)
    if not before:
        return ()
    count = min(most, _agreeing(tokens, before, _NGRAM + most - 1) - _NGRAM + 1)
    followed = array("i", tokens[before : before + count * _BYTES])
    return tuple(followed[at % len(followed)] for at in range(count))


def _end_of_last(tokens: bytearray) -> int:
    """Return behind which byte the last tokens stood together before, 0 if they never did."""
    ngram = tokens[-_NGRAM * _BYTES :]
    end = len(tokens) - _BYTES
    while (at := tokens.rfind(ngram, 0, end)) >= 0:
        if at % _BYTES == 0:
            return at + len(ngram)
        # Found across two tokens' bytes.
        end = at + len(ngram) - 1
    return 0


def _agreeing(tokens: bytearray, before: int, most: int) -> int:
    """Return how many tokens before a byte are those at the end, up to `most`."""
    for count in range(_NGRAM, most):
        there, here = before - (count + 1) * _BYTES, len(tokens) - (count + 1) * _BYTES
        if there < 0 or tokens[there : there + _BYTES] != tokens[here : here + _BYTES]:
            return count
    return most
