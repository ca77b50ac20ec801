"""Which prefixes of token ids are kept, to be reused by sequences that begin alike.

Owns the search, the order of leaving (least recently used first) and the budget in tokens. Knows
no tensor: whoever holds keys and values does so under the keys given out here.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

# A prefix is found by the hashes of its blocks; one shorter than a block is not worth a copy.
BLOCK = 16

TokenIds = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Prefix:
    """The first `length` tokens of what is kept under `key`."""

    key: int
    length: int


class PrefixIndex:
    """Holds token ids only; `forgotten` collects the keys whose tensors can go."""

    def __init__(self, max_tokens: int) -> None:
        """Keep up to `max_tokens` tokens; 0: nothing."""
        self.max_tokens = max_tokens
        self.tokens = 0
        self.queried_tokens = 0
        self.reused_tokens = 0
        self._forgotten: list[int] = []
        self._keys = count()
        self._kept: OrderedDict[int, TokenIds] = OrderedDict()  # the latest used last
        self._beginnings: dict[int, tuple[int, ...]] = {}  # by key
        self._held: Counter[int] = Counter()  # in how many beginnings each number is
        self._blocks: dict[int, int] = {}  # hash of all tokens up to a block's end -> key

    def find(self, token_ids: TokenIds, multiple: int = 1) -> Prefix | None:
        """Return the longest kept prefix of `token_ids` that leaves one token to compute.

        Its length is cut to a multiple of `multiple`.
        """
        self.queried_tokens += len(token_ids)
        prefix = self.peek(token_ids)
        if prefix is not None:
            prefix = Prefix(prefix.key, prefix.length - prefix.length % multiple)
        if prefix is not None and prefix.length:
            self._kept.move_to_end(prefix.key)
            self.reused_tokens += prefix.length
            return prefix
        return None

    def peek(self, token_ids: TokenIds) -> Prefix | None:
        """Return what `find` would, without counting it as used."""
        return self._longest(token_ids, len(token_ids) - 1)

    @property
    def beginnings(self) -> list[int]:
        """The numbers of all that is kept, the newest last; from any thread."""
        return list(self._held)

    def add(self, token_ids: TokenIds, beginning: tuple[int, ...] = ()) -> int | None:
        """Return the key under which these are kept from now on; None: they are not worth it.

        `beginning` are numbers by which others know what the tokens stand for.
        """
        length = len(token_ids)
        if not BLOCK <= length <= self.max_tokens:
            return None
        known = self._longest(token_ids, length)
        if known is not None and length - known.length < BLOCK:
            self._kept.move_to_end(known.key)
            return None
        self.shrink(self.max_tokens - length)
        key = next(self._keys)
        self._kept[key] = token_ids
        self._beginnings[key] = beginning
        self._held.update(beginning)
        self.tokens += length
        for block in _hashes(token_ids):
            shorter = self._blocks.get(block)
            self._blocks[block] = key
            if shorter is not None and self._is_prefix(shorter, token_ids):
                self._forget(shorter)
        return key

    def shrink(self, tokens: int) -> None:
        """Forget until no more than `tokens` tokens are kept."""
        while self.tokens > max(0, tokens):
            self._forget(next(iter(self._kept)))

    def clear(self) -> None:
        """Forget everything; whoever holds the tensors knows."""
        self._kept.clear()
        self._beginnings.clear()
        self._held.clear()
        self._blocks.clear()
        self._forgotten.clear()
        self.tokens = 0

    def take_forgotten(self) -> list[int]:
        """Return the keys whose tensors can go, once."""
        forgotten, self._forgotten = self._forgotten, []
        return forgotten

    def _longest(self, token_ids: TokenIds, limit: int) -> Prefix | None:
        hashes = list(_hashes(token_ids[:limit]))
        for blocks in range(len(hashes), 0, -1):
            key = self._blocks.get(hashes[blocks - 1])
            if key is None:
                continue
            kept, length = self._kept[key], blocks * BLOCK
            if kept[:length] != token_ids[:length]:
                continue  # two prefixes of one hash
            end = min(limit, len(kept))
            while length < end and kept[length] == token_ids[length]:
                length += 1
            return Prefix(key, length)
        return None

    def _is_prefix(self, key: int, token_ids: TokenIds) -> bool:
        kept = self._kept.get(key)
        return kept is not None and kept == token_ids[: len(kept)]

    def _forget(self, key: int) -> None:
        token_ids = self._kept.pop(key)
        for number in self._beginnings.pop(key):
            self._held[number] -= 1
            if not self._held[number]:
                del self._held[number]
        self.tokens -= len(token_ids)
        self._forgotten.append(key)
        for block in _hashes(token_ids):
            if self._blocks.get(block) == key:
                del self._blocks[block]


def _hashes(token_ids: TokenIds) -> Iterator[int]:
    """Yield a hash of all tokens up to the end of each whole block."""
    chain = 0
    for end in range(BLOCK, len(token_ids) + 1, BLOCK):
        chain = hash((chain, token_ids[end - BLOCK : end]))
        yield chain
