"""A Llama-shaped model's layers over one line of tokens.

Owns their arithmetic, written so that TorchScript can run all layers in one call, or on a GPU
`torch.compile` the two parts of a layer beside attention. Knows no model class.
"""
# pyright: basic
# Modules call one another through nn.Module, which is not typed.

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from services.worker.engine.layer_attention import AttentionKind, LayerSegment, attend_line


@dataclass(frozen=True, slots=True)
class Heads:
    """Attention's sizes: `groups` query heads for each of `kv_heads`, of `dim` numbers each."""

    kv_heads: int
    groups: int
    dim: int


class RMSNorm(nn.Module):
    """Root mean square norm over the last dimension (Zhang and Sennrich, 2019)."""

    def __init__(self, weight: torch.Tensor, eps: float) -> None:
        """Take the weight, [features]."""
        super().__init__()
        self._weight = weight
        self._eps, self._eps_tensor = eps, torch.tensor(eps, device=weight.device)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Return [..., features] of their dtype."""
        weight = self._weight
        if states.dtype == torch.float32 or states.device.type != "cpu":
            return functional.rms_norm(states, weight.shape, weight, self._eps)
        # The same in fewer operators; torch's takes more than one kernel on a CPU.
        length = torch.linalg.vector_norm(states, 2.0, [-1], True, dtype=torch.float32)
        mean = 1 / states.shape[-1]
        scale = torch.addcmul(self._eps_tensor, length, length, value=mean).rsqrt_()
        return torch.mul(states, scale, out=torch.empty_like(states)).mul_(weight)


class DecoderLayer(nn.Module):
    """One layer; its Linears take an epilogue (linears.py)."""

    def __init__(
        self,
        heads: Heads,
        *,
        norms: tuple[RMSNorm, RMSNorm],
        head_norms: tuple[RMSNorm, RMSNorm] | None,
        linears: tuple[nn.Module, nn.Module],
        mlp: nn.Module,
        scale: float,
    ) -> None:
        """Take what it is made of.

        Args:
            heads: attention's sizes.
            norms: before attention and before the MLP.
            head_norms: of queries and of keys.
            linears: one for queries, keys and values, in which each KV head follows its query
                heads, and the one after attention.
            mlp: called with the normed states and those that it adds to.
            scale: factor of attention's scores.
        """
        super().__init__()
        self._kv_heads, self._groups, self._dim = heads.kv_heads, heads.groups, heads.dim
        self._input_norm, self._mlp_norm = norms
        self._query_norm, self._key_norm = head_norms or (None, None)
        self._qkv, self._output = linears
        self._mlp = mlp
        self._scale = scale

    def forward(
        self,
        hidden: torch.Tensor,
        cos: torch.Tensor,
        sin: torch.Tensor,
        segments: list[LayerSegment],
        padding: int,
    ) -> torch.Tensor:
        """Return the hidden states that the layer gives, [tokens, hidden]; see `DecoderLayers`."""
        query, key, value = self.before(hidden, cos, sin)
        # The segments know the window.
        kind = AttentionKind(self._scale, None, None)
        attended = attend_line(segments, query, key, value, kind=kind, padding=padding)
        return self.after(hidden, attended)

    def before(
        self, hidden: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return query [tokens, kv_heads, groups, head_dim], key and value, positions in them."""
        qkv = self._qkv(self._input_norm(hidden))
        qkv = qkv.view(-1, self._kv_heads, self._groups + 2, self._dim)
        rotated, value = qkv.split_with_sizes([self._groups + 1, 1], 2)
        if self._query_norm is not None and self._key_norm is not None:
            query, key = rotated.split_with_sizes([self._groups, 1], 2)
            rotated = torch.cat((self._query_norm(query), self._key_norm(key)), dim=2)
        # The second half of `sin` is that of the formula, the first its negative.
        turned = torch.roll(rotated, self._dim // 2, dims=-1)
        rotated = torch.addcmul(rotated * cos, turned, sin)
        query, key = rotated.split_with_sizes([self._groups, 1], 2)
        return query, key.squeeze(2), value.squeeze(2)

    def after(self, hidden: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        """Return the hidden states that the layer gives, [tokens, hidden]."""
        hidden = self._output(attended.view(hidden.shape[0], -1), "add", hidden)
        return self._mlp(self._mlp_norm(hidden), hidden)


class GatedMLP(nn.Module):
    """down(activation(gate(x)) * up(x))."""

    def __init__(
        self, gate: nn.Module, up: nn.Module, down: nn.Module, activation: nn.Module
    ) -> None:
        """Take Linears with an epilogue."""
        super().__init__()
        self._gate, self._up, self._down, self._activation = gate, up, down, activation

    def forward(self, x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """Return it added to `residual`, [tokens, hidden]."""
        product = self._up(x, "mul", self._activation(self._gate(x)))
        return self._down(product, "add", residual)


class SiluMLP(nn.Module):
    """The same where the activation is silu, an epilogue."""

    def __init__(self, gate: nn.Module, up: nn.Module, down: nn.Module) -> None:
        """Take Linears with an epilogue."""
        super().__init__()
        self._gate, self._up, self._down = gate, up, down

    def forward(self, x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """Return it added to `residual`, [tokens, hidden]."""
        return self._down(self._up(x, "mul", self._gate(x, "silu")), "add", residual)


class DecoderLayers(nn.Module):
    """All layers, and the norm after them."""

    def __init__(self, layers: list[DecoderLayer], norm: RMSNorm) -> None:
        """Take the layers in their order."""
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self._norm = norm

    def forward(
        self,
        hidden: torch.Tensor,
        cos: torch.Tensor,
        sin: torch.Tensor,
        segments: list[list[LayerSegment]],
        padding: int,
    ) -> torch.Tensor:
        """Return the last hidden states, [tokens, hidden].

        Args:
            hidden: the tokens' embeddings, [tokens, hidden].
            cos: cosines of the positions, [tokens, 1, 1, head_dim].
            sin: signed sines, like `cos`.
            segments: of each layer.
            padding: see `attend_line`.
        """
        for i, layer in enumerate(self.layers):
            hidden = layer(hidden, cos, sin, segments[i], padding)
        return self._norm(hidden)


def compile_parts(layers: DecoderLayers, **options: Any) -> None:
    """Compile what is not attention: few kernels for small operators, one graph for all layers."""
    for layer in layers.layers:
        assert isinstance(layer, DecoderLayer)
        layer.before = torch.compile(layer.before, **options)
        layer.after = torch.compile(layer.after, **options)
