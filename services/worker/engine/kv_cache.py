"""The KV cache: keys and values of the running rows, in slots 0..n-1 without gaps.

Owns the tensors, their growth within the budget, and each row's length. Decoding reads
views of the tensors and gathers nothing. Knows no sequence and no policy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers import Cache

from shared.errors import EngineFault

_MIN_CAPACITY = 256


@dataclass(slots=True)
class Layer:
    """One layer's tensors, [slots, kv_heads, capacity, head_dim], in the model's dtype."""

    keys: torch.Tensor
    values: torch.Tensor


@dataclass(frozen=True, slots=True)
class PromptWrite:
    """The present forward pass writes one whole prompt into a slot."""

    slot: int


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
        self._shape = (0, 0)
        self._lengths: list[int] = []
        self._positions = torch.zeros(max_num_seqs, dtype=torch.int64, device=device)
        self._slots = torch.arange(max_num_seqs, device=device)
        self._write: PromptWrite | TokenWrite = PromptWrite(0)

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

    def begin_prefill(self, slot: int, length: int) -> None:
        """Make room for a prompt in the first free slot; the row is empty until `commit`."""
        self._fit(slot + 1, max([length, *self._lengths]))
        self._lengths.append(0)
        self._write = PromptWrite(slot)

    def commit(self, slot: int, length: int) -> None:
        """Say that the prompt's forward pass went through, so that the row counts."""
        self._lengths[slot] = length
        self._positions[slot] = length

    def begin_decode(self, rows: int) -> TokenWrite:
        """Make room for one token in each of the first `rows` slots."""
        lengths = [length + 1 for length in self._lengths[:rows]]
        longest = max(lengths)
        self._fit(rows, longest)
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
        if isinstance(write, PromptWrite):
            length = key_states.shape[2]
            layer.keys[write.slot, :, :length] = key_states[0]
            layer.values[write.slot, :, :length] = value_states[0]
            return key_states, value_states
        layer.keys[write.slots, :, write.positions] = key_states[:, :, 0]
        layer.values[write.slots, :, write.positions] = value_states[:, :, 0]
        rows = len(write.slots)
        return layer.keys[:rows, :, : write.longest], layer.values[:rows, :, : write.longest]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return the longest row before the present call; every layer has the same."""
        del layer_idx
        return self._write.longest - 1 if isinstance(self._write, TokenWrite) else 0

    def get_mask_sizes(self, query_length: int, layer_idx: int = 0) -> tuple[int, int]:
        """Return how many keys `update` will return, and the first one's position.

        transformers makes its own masks with it, for models that keep their own attention.
        """
        return self.get_seq_length(layer_idx) + query_length, 0

    def release(self, slot: int) -> int:
        """Free a slot; the row in the last one moves into it. Return the last one."""
        last = len(self._lengths) - 1
        length = self._lengths.pop()
        if not self._lengths:
            self.reset()
        elif slot != last:
            self._move(last, slot, length)
        return last

    def wipe(self, slot: int) -> None:
        """Zero a row that holds NaN, which no mask would hide from the slot's next user."""
        for layer in self._layers:
            layer.keys[slot].zero_()
            layer.values[slot].zero_()

    def reset(self) -> None:
        """Free every slot and give the memory back."""
        self._lengths.clear()
        self._layers.clear()
        self._shape = (0, 0)

    def _move(self, last: int, slot: int, length: int) -> None:
        self._lengths[slot] = length
        if length:
            self._positions[slot] = self._positions[last]
            for layer in self._layers:
                layer.keys[slot, :, :length] = layer.keys[last, :, :length]
                layer.values[slot, :, :length] = layer.values[last, :, :length]

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
