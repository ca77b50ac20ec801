"""Token ids to text, one id at a time, never with half a character.

The pieces joined are what the tokenizer's own `decode` gives for all ids at once, special
tokens skipped. Owns what is held back and for how long. Knows neither requests nor stop
strings.
"""

from __future__ import annotations

import codecs
from typing import Protocol

from tokenizers import Tokenizer

from services.worker.token_pieces import TokenPieces

_REPLACEMENT = "\ufffd"
# A character has at most four bytes, so three tokens at most follow the one that begins it.
_LONGEST_REST = 3


class Detokenizer(Protocol):
    """The text of one choice."""

    def feed(self, token_id: int) -> str:
        """Return the text that is certain now and was not before; often empty."""
        ...

    def flush(self) -> str:
        """Return the rest; broken bytes in it become U+FFFD, as in `decode`."""
        ...


class Detokenizers:
    """Makes a detokenizer for each choice, in the way that suits the tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Look at the tokenizer once; it is only read afterwards."""
        self._tokenizer = tokenizer
        self.pieces = TokenPieces(tokenizer)

    def new(self) -> Detokenizer:
        """Return a detokenizer for one choice."""
        if self.pieces.byte_level:
            return _ByteDetokenizer(self.pieces)
        return _WindowDetokenizer(self._tokenizer, self.pieces.special)


class _ByteDetokenizer:
    """For byte-level vocabularies: every token is some bytes, and UTF-8 does the rest."""

    def __init__(self, pieces: TokenPieces) -> None:
        self._pieces = pieces
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, token_id: int) -> str:
        return self._decoder.decode(self._pieces[token_id] or b"")

    def flush(self) -> str:
        return self._decoder.decode(b"", final=True)


class _WindowDetokenizer:
    """For all others: decodes a short window twice, with and without what is new.

    What a token looks like may depend on the one before it (leading spaces), so the tokens
    shown last stay in the window as context. A text that ends in U+FFFD is held back, since
    the next token may complete the character, but for no longer than a character can be.
    """

    def __init__(self, tokenizer: Tokenizer, special: frozenset[int]) -> None:
        self._tokenizer = tokenizer
        self._special = special
        self._window: list[int] = []
        self._context = 0
        self._shown = 0

    def feed(self, token_id: int) -> str:
        if token_id in self._special:
            return ""
        self._window.append(token_id)
        if not self._decode(self._window).endswith(_REPLACEMENT):
            return self._show(len(self._window))
        if len(self._window) - self._context > _LONGEST_REST:
            return self._show(self._context + 1)
        return ""

    def flush(self) -> str:
        return self._show(len(self._window))

    def _show(self, end: int) -> str:
        """Return the text of the tokens up to `end`; they are the context from here on."""
        text = self._decode(self._window[:end])[self._shown :]
        self._window = self._window[self._context :]
        self._context = end - self._context
        self._shown = len(self._decode(self._window[: self._context]))
        return text

    def _decode(self, token_ids: list[int]) -> str:
        return self._tokenizer.decode(token_ids, skip_special_tokens=True)
