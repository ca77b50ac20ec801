"""The mock engine's prefix cache: blocks of prompts, the least recently used go first.

A block is a number of `shared.protocol.prefix_chain`. What running sequences stand on is pinned
and cannot go; a chain is given back from its end, so that of two blocks the deeper one goes first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

BLOCK_TOKENS = 64
"""256 bytes, at four bytes a token."""


class PrefixCache:
    """Blocks held, by use."""

    def __init__(self) -> None:
        self._idle: OrderedDict[int, None] = OrderedDict()
        self._pinned: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._idle) + len(self._pinned)

    @property
    def tokens(self) -> int:
        return len(self) * BLOCK_TOKENS

    @property
    def pinned_tokens(self) -> int:
        return len(self._pinned) * BLOCK_TOKENS

    def newest(self, most: int) -> tuple[int, ...]:
        """Return at most that many blocks, those used last; safe to call from another thread."""
        # Copying these takes one call into C each, in which no other thread runs.
        blocks = (*self._idle, *self._pinned)
        return blocks[-most:]

    def match(self, chain: Sequence[int]) -> int:
        """Return how many leading blocks are held."""
        for index, block in enumerate(chain):
            if block not in self._pinned and block not in self._idle:
                return index
        return len(chain)

    def pin(self, blocks: Sequence[int]) -> None:
        """Hold these, new ones too, until they are unpinned as often."""
        for block in blocks:
            self._idle.pop(block, None)
            self._pinned[block] = self._pinned.get(block, 0) + 1

    def unpin(self, blocks: Sequence[int]) -> None:
        for block in reversed(blocks):
            left = self._pinned[block] - 1
            if left:
                self._pinned[block] = left
            else:
                del self._pinned[block]
                self._idle[block] = None

    def evict(self, tokens: int) -> None:
        """Give up idle blocks until that many tokens are free, or none is left."""
        for _ in range(min(len(self._idle), max(0, -(-tokens // BLOCK_TOKENS)))):
            self._idle.popitem(last=False)
