"""The account of one request: which tokens of which choice its client was given.

Owns token ids by choice and the number of the last frame. It is what a continuation on another
worker starts from. Knows no text and no socket.
"""

from __future__ import annotations

from array import array

from services.controller.relay.loss import MalformedFrames
from shared.errors import UpstreamFailed
from shared.protocol.frames import LedgerFrame, TokensFrame

MAX_CHOICES = 1 << 16
MAX_TOKENS = 1 << 20
"""Most token ids that one request may fill; at 4 bytes each they bound its memory."""


class Ledger:
    """Takes `tokens` frames, whose numbers count up from 1 without a gap."""

    def __init__(self, choices: int = MAX_CHOICES, max_tokens: int = MAX_TOKENS) -> None:
        """Start with nothing received; more choices or more ids than these are a fault."""
        self._choices = choices
        self._max_tokens = max_tokens
        self.last_sequence_number = 0
        self.total = 0
        self._ids: dict[int, array[int]] = {}

    def record(self, frame: TokensFrame) -> bool:
        """Enter the frame's tokens; False says that it was entered before and must be dropped.

        Raises:
            MalformedFrames: a frame is missing before this one, or it is of no choice.
            UpstreamFailed: the bound is reached.
        """
        # Every chunk of every answer comes by here.
        number, choice, token_ids, _ = frame
        expected = self.last_sequence_number + 1
        if number != expected:
            if 1 <= number < expected:
                return False
            msg = f"The worker sent frame {number} where frame {expected} was due."
            raise MalformedFrames(msg)
        total = self.total + len(token_ids)
        if total > self._max_tokens:
            msg = f"The worker sent more than {self._max_tokens} tokens."
            raise UpstreamFailed(msg)
        ids = self._ids.get(choice)
        if ids is None:
            if choice >= self._choices:
                msg = f"The worker sent a token of choice {choice} of {self._choices}."
                raise MalformedFrames(msg)
            ids = self._ids[choice] = array("I")
        self.total = total
        self.last_sequence_number = number
        ids.extend(token_ids)
        return True

    def begin(self, frame: LedgerFrame) -> None:
        """Take over what another controller entered; nothing may have been entered here.

        Raises:
            MalformedFrames: they are no token ids.
            UpstreamFailed: there are too many tokens.
        """
        try:
            self._ids = {choice: array("I", ids) for choice, ids in enumerate(frame.token_ids)}
        except (TypeError, OverflowError) as fault:
            msg = "The worker's account of the frames before has no token ids."
            raise MalformedFrames(msg) from fault
        self.total = sum(map(len, self._ids.values()))
        if self.total > self._max_tokens:
            msg = f"The worker tells of more than {self._max_tokens} tokens."
            raise UpstreamFailed(msg)
        self.last_sequence_number = frame.last_sequence_number

    def token_ids(self, choice: int) -> list[int]:
        """Return the ids that `choice` has so far."""
        return list(self._ids.get(choice, ()))

    def choices(self, count: int) -> list[list[int]]:
        """Return the ids of the first `count` choices."""
        return [self.token_ids(choice) for choice in range(count)]
