"""Token ids to text, one id at a time, never with half a character.

The pieces joined are what the tokenizer's own `decode` gives for all ids at once, special
tokens skipped. Owns what is held back and for how long. Knows neither requests nor stop
strings.
"""

from __future__ import annotations

import codecs
import json
from typing import Any, Protocol, cast

from tokenizers import Tokenizer

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
        self._special = frozenset(
            token_id for token_id, token in _added_tokens(tokenizer).items() if token.special
        )
        self._pieces = _BytePieces(tokenizer, self._special) if _is_byte_level(tokenizer) else None

    def new(self) -> Detokenizer:
        """Return a detokenizer for one choice."""
        if self._pieces is not None:
            return _ByteDetokenizer(self._pieces)
        return _WindowDetokenizer(self._tokenizer, self._special)


class _BytePieces(dict[int, bytes]):
    """The bytes of each token of a byte-level vocabulary, looked up once."""

    def __init__(self, tokenizer: Tokenizer, special: frozenset[int]) -> None:
        super().__init__()
        self._tokenizer = tokenizer
        self._special = special
        self._bytes = _byte_alphabet()

    def __missing__(self, token_id: int) -> bytes:
        piece = self[token_id] = self._look_up(token_id)
        return piece

    def _look_up(self, token_id: int) -> bytes:
        # A model's vocabulary may be padded beyond the tokenizer's.
        token = None if token_id in self._special else self._tokenizer.id_to_token(token_id)
        if token is None:
            return b""
        if all(character in self._bytes for character in token):
            return bytes(self._bytes[character] for character in token)
        # An added token stands in the vocabulary as it is.
        return token.encode()


class _ByteDetokenizer:
    """For byte-level vocabularies: every token is some bytes, and UTF-8 does the rest."""

    def __init__(self, pieces: _BytePieces) -> None:
        self._pieces = pieces
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, token_id: int) -> str:
        return self._decoder.decode(self._pieces[token_id])

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


def _is_byte_level(tokenizer: Tokenizer) -> bool:
    """Return whether decoding is nothing but GPT-2's mapping of characters to bytes."""
    decoder = tokenizer.decoder
    if decoder is None:
        return False
    state: dict[str, Any] = json.loads(decoder.__getstate__())
    steps = state["decoders"] if state["type"] == "Sequence" else [state]
    return [step["type"] for step in steps] == ["ByteLevel"]


def _byte_alphabet() -> dict[str, int]:
    """Return GPT-2's mapping: printable bytes stand for themselves, the others from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in printable]
    alphabet = {chr(byte): byte for byte in printable}
    alphabet |= {chr(0x100 + index): byte for index, byte in enumerate(others)}
    return alphabet


def _added_tokens(tokenizer: Tokenizer) -> dict[int, Any]:
    return cast("Any", tokenizer).get_added_tokens_decoder()
