"""What each token of a vocabulary is by itself: its bytes and its name.

Owns how a tokenizer's decoder is read. Knows no text that tokens follow.
"""

from __future__ import annotations

import json
import re
from functools import cached_property
from typing import Any, cast

from tokenizers import Tokenizer

_BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")


class TokenPieces(dict[int, bytes | None]):
    """The bytes of each token, looked up once; None: it has none, as special tokens do not."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Look at the tokenizer once; it is only read afterwards."""
        super().__init__()
        self._tokenizer = tokenizer
        added: dict[int, Any] = cast("Any", tokenizer).get_added_tokens_decoder()
        self.special = frozenset(token_id for token_id, token in added.items() if token.special)
        decoders = _decoders(tokenizer)
        self.byte_level = decoders == ["ByteLevel"]
        self._byte_fallback = "ByteFallback" in decoders
        self._bytes = _byte_alphabet()

    def __missing__(self, token_id: int) -> bytes | None:
        """Look a token up."""
        piece = self[token_id] = self._look_up(token_id)
        return piece

    def name(self, token_id: int) -> str:
        r"""Return a token as text; `bytes:\xf0\x9f` if it is no whole number of characters."""
        piece = self[token_id]
        if piece is None:
            return self._tokenizer.id_to_token(token_id) or ""
        try:
            return piece.decode()
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in piece)

    def _look_up(self, token_id: int) -> bytes | None:
        # A model's vocabulary may be padded beyond the tokenizer's.
        token = None if token_id in self.special else self._tokenizer.id_to_token(token_id)
        if token is None:
            return None
        if self.byte_level:
            if all(character in self._bytes for character in token):
                return bytes(self._bytes[character] for character in token)
            # An added token stands in the vocabulary as it is.
            return token.encode()
        if self._byte_fallback and (byte := _BYTE_TOKEN.fullmatch(token)):
            return bytes([int(byte[1], 16)])
        anchor, shown = self._anchor
        return self._tokenizer.decode([anchor, token_id])[len(shown) :].encode()

    @cached_property
    def _anchor(self) -> tuple[int, str]:
        """A token to decode others after, since decoders treat the first one in its own way."""
        for token_id in range(self._tokenizer.get_vocab_size()):
            shown = self._tokenizer.decode([token_id])
            if shown.isascii() and shown.isalnum():
                return token_id, shown
        return 0, self._tokenizer.decode([0])


def _decoders(tokenizer: Tokenizer) -> list[str]:
    if tokenizer.decoder is None:
        return []
    state: dict[str, Any] = json.loads(tokenizer.decoder.__getstate__())
    steps = state["decoders"] if state["type"] == "Sequence" else [state]
    return [step["type"] for step in steps]


def _byte_alphabet() -> dict[str, int]:
    """Return GPT-2's mapping: printable bytes stand for themselves, the others from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in printable]
    alphabet = {chr(byte): byte for byte in printable}
    alphabet |= {chr(0x100 + index): byte for index, byte in enumerate(others)}
    return alphabet
