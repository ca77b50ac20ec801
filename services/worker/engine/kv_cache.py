"""The KV cache: keys and values of the running rows, in slots 0..n-1 without gaps.

Owns the tensors, their growth within the budget, and each row's length. Decoding reads
views of the tensors and gathers nothing. Knows no sequence and no policy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers import Cache

from services.worker.engine.prefix_index import Keep, Prefix
from shared.errors import EngineFault

_MIN_CAPACITY = 256


@dataclass(slots=True)
class Layer:
    """One layer's tensors, [slots, kv_heads, capacity, head_dim], in the model's dtype.

    What is kept has no dimension of slots, and the length for its capacity.
    """

    keys: torch.Tensor
    values: torch.Tensor


@dataclass(frozen=True, slots=True)
class ChunkWrite:
    """The present forward pass writes tokens `start` to `end` of one row."""

    slot: int
    start: int
    end: int

    def positions(self, device: torch.device) -> torch.Tensor:
        """Return the tokens' positions, int64 [1, tokens]."""
        return torch.arange(self.start, self.end, device=device)[None]

    def added_mask(self, dtype: torch.dtype, device: torch.device) -> torch.Tensor | None:
        """Return what to add to the attention scores, `dtype` [1, 1, tokens, end].

        None where nothing stands before the chunk: plain causal attention.
        """
        if not self.start:
            return None
        mask = torch.full((self.end - self.start, self.end), float("-inf"), dtype=dtype)
        return mask.triu_(self.start + 1)[None, None].to(device)

    def token_mask(self, device: torch.device) -> torch.Tensor:
        """Return ones for all tokens up to the chunk's last, int64 [1, end]."""
        return torch.ones(1, self.end, dtype=torch.int64, device=device)


@dataclass(frozen=True, slots=True)
class TokenWrite:
    """The present forward pass writes one token a row, and reads up to the longest row."""

    slots: torch.Tensor
    positions: torch.Tensor  # of the new tokens, int64 [rows]
    longest: int  # tokens of the longest row, with its new one
    ragged: bool  # rows differ in length

    def added_mask(self, dtype: torch.dtype) -> torch.Tensor | None:
        """Return what to add to the attention scores, `dtype` [rows, 1, 1, longest].

        None when all rows are equally long.
        """
        if not self.ragged:
            return None
        beyond = self._columns() > self.positions[:, None]
        mask = torch.zeros(beyond.shape, dtype=dtype, device=beyond.device)
        return mask.masked_fill_(beyond, float("-inf"))[:, None, None, :]

    def token_mask(self) -> torch.Tensor:
        """Return ones up to and with each row's new token, zeros beyond; int64 [rows, longest]."""
        return (self._columns() <= self.positions[:, None]).long()

    def _columns(self) -> torch.Tensor:
        return torch.arange(self.longest, device=self.positions.device)


class KVCache(Cache):
    """What transformers' models take as `past_key_values`.

    All layers are rectangles of slots times capacity. Both sides grow by doubling, within
    `max_tokens` for the product; when the last row leaves, everything is given back.
    """

    def __init__(self, *, max_num_seqs: int, max_model_len: int, device: torch.device) -> None:
        """Hold nothing; `max_tokens` starts as enough for every slot at full length."""
        super().__init__(layers=[])
        self.max_tokens = max_num_seqs * max_model_len
        self._max_num_seqs = max_num_seqs
        self._max_model_len = max_model_len
        self._layers: list[Layer] = []
        self._kept: dict[int, list[Layer]] = {}
        self._shape = (0, 0)
        self._lengths: list[int] = []
        self._positions = torch.zeros(max_num_seqs, dtype=torch.int64, device=device)
        self._slots = torch.arange(max_num_seqs, device=device)
        self._write: ChunkWrite | TokenWrite = ChunkWrite(0, 0, 0)

    @property
    def allocated_tokens(self) -> int:
        """Tokens that the tensors have room for; never more than `max_tokens`."""
        return self._shape[0] * self._shape[1]

    @property
    def layer_count(self) -> int:
        """Layers that have written since the last reset."""
        return len(self._layers)

    @property
    def bytes_per_token(self) -> int:
        """What one token of one row takes in the layers counted above."""
        tensors = [t for layer in self._layers for t in (layer.keys, layer.values)]
        return sum(t.shape[1] * t.shape[3] * t.element_size() for t in tensors)

    def begin_prefill(self, slot: int, start: int, end: int) -> ChunkWrite:
        """Make room for a chunk in the last slot, or in the first free one.

        The row grows when `commit` says so.
        """
        self._fit(slot + 1, max([end, *self._lengths]))
        if slot == len(self._lengths):
            self._lengths.append(0)
        self._write = ChunkWrite(slot, start, end)
        return self._write

    def commit(self, write: ChunkWrite) -> None:
        """Say that the chunk's forward pass went through, so that it counts."""
        self._lengths[write.slot] = write.end
        self._positions[write.slot] = write.end

    def begin_decode(self, rows: int) -> TokenWrite:
        """Make room for one token in each of the first `rows` slots."""
        lengths = [length + 1 for length in self._lengths[:rows]]
        longest = max(lengths)
        self._fit(len(self._lengths), max(longest, *self._lengths))
        self._lengths[:rows] = lengths
        positions = self._positions[:rows].clone()
        self._positions[:rows] += 1
        write = TokenWrite(self._slots[:rows], positions, longest, ragged=min(lengths) < longest)
        self._write = write
        return write

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        layer_idx: int,
        *_args: Any,
        **_kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write a layer's new keys and values and return what its queries attend to.

        Both have the shape [rows, kv_heads, new tokens, head_dim]; transformers calls this.
        """
        layer = self._fitted_layer(layer_idx, key_states, value_states)
        write = self._write
        if isinstance(write, ChunkWrite):
            layer.keys[write.slot, :, write.start : write.end] = key_states[0]
            layer.values[write.slot, :, write.start : write.end] = value_states[0]
            if not write.start:
                return key_states, value_states
            row = slice(write.slot, write.slot + 1)
            return layer.keys[row, :, : write.end], layer.values[row, :, : write.end]
        layer.keys[write.slots, :, write.positions] = key_states[:, :, 0]
        layer.values[write.slots, :, write.positions] = value_states[:, :, 0]
        rows = len(write.slots)
        return layer.keys[:rows, :, : write.longest], layer.values[:rows, :, : write.longest]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return the longest row before the present call; every layer has the same."""
        del layer_idx
        write = self._write
        return write.longest - 1 if isinstance(write, TokenWrite) else write.start

    def get_mask_sizes(self, query_length: int, layer_idx: int = 0) -> tuple[int, int]:
        """Return how many keys `update` will return, and the first one's position.

        transformers makes its own masks with it, for models that keep their own attention.
        """
        return self.get_seq_length(layer_idx) + query_length, 0

    def move(self, source: int, target: int) -> None:
        """Copy a row over another one."""
        length = self._lengths[source]
        self._lengths[target] = length
        if length:
            self._positions[target] = self._positions[source]
            for layer in self._layers:
                layer.keys[target, :, :length] = layer.keys[source, :, :length]
                layer.values[target, :, :length] = layer.values[source, :, :length]

    def keep(self, keep: Keep) -> None:
        """Copy the beginning of a row, to be reused; it outlives the row."""
        part = keep.slot, slice(None), slice(keep.length)
        self._kept[keep.key] = [
            Layer(layer.keys[part].clone(), layer.values[part].clone()) for layer in self._layers
        ]

    def reuse(self, slot: int, prefix: Prefix) -> None:
        """Begin the first free slot with what was kept."""
        self._fit(slot + 1, max([prefix.length, *self._lengths]))
        self._lengths.append(0)
        part = slot, slice(None), slice(prefix.length)
        for index, kept in enumerate(self._kept[prefix.key]):
            layer = self._fitted_layer(index, kept.keys[None], kept.values[None])
            layer.keys[part] = kept.keys[:, : prefix.length]
            layer.values[part] = kept.values[:, : prefix.length]
        self.commit(ChunkWrite(slot, 0, prefix.length))

    def forget(self, key: int) -> None:
        """Let go of what was kept; unknown is no fault."""
        self._kept.pop(key, None)

    def release(self) -> None:
        """Free the last slot; with the last row the slots' memory is given back."""
        self._lengths.pop()
        if not self._lengths:
            self._empty()

    def wipe(self, slot: int) -> None:
        """Zero a row that holds NaN, which no mask would hide from the slot's next user."""
        for layer in self._layers:
            layer.keys[slot].zero_()
            layer.values[slot].zero_()

    def reset(self) -> None:
        """Free every slot, let go of all that was kept and give the memory back."""
        self._kept.clear()
        self._empty()

    def _empty(self) -> None:
        self._lengths.clear()
        self._layers.clear()
        self._shape = (0, 0)

    def _fit(self, rows: int, length: int) -> None:
        """Choose a shape that holds `rows` rows of `length` tokens, within the budget."""
        slots, capacity = self._shape
        if rows <= slots and length <= capacity:
            return
        if rows * length > self.max_tokens:
            msg = f"{rows} rows of {length} tokens exceed {self.max_tokens} tokens of KV cache"
            raise EngineFault(msg)
        capacity = max(_MIN_CAPACITY, _power_of_two(length))
        capacity = min(capacity, self._max_model_len, self.max_tokens // rows)
        slots = min(_power_of_two(rows), self._max_num_seqs, self.max_tokens // capacity)
        self._shape = (slots, capacity)

    def _fitted_layer(self, index: int, keys: torch.Tensor, values: torch.Tensor) -> Layer:
        # Layer by layer, so that a growing cache is there twice in one layer only.
        if index == len(self._layers):
            self._layers.append(Layer(self._zeros_like(keys), self._zeros_like(values)))
        layer = self._layers[index]
        if (layer.keys.shape[0], layer.keys.shape[2]) != self._shape:
            layer.keys = self._resized(layer.keys)
            layer.values = self._resized(layer.values)
        return layer

    def _zeros_like(self, states: torch.Tensor) -> torch.Tensor:
        # Zeros, not empty: a masked score hides any number but NaN.
        slots, capacity = self._shape
        return states.new_zeros(slots, states.shape[1], capacity, states.shape[3])

    def _resized(self, old: torch.Tensor) -> torch.Tensor:
        new = self._zeros_like(old)
        rows = min(old.shape[0], len(self._lengths))
        tokens = min(old.shape[2], new.shape[2])
        new[:rows, :, :tokens] = old[:rows, :, :tokens]
        return new


def _power_of_two(minimum: int) -> int:
    return 1 << (minimum - 1).bit_length()
