"""A Llama-shaped model's forward pass, written for one line of tokens.

The classes listed here differ in details that this module knows: biases, norms of queries and keys,
sliding windows. Their Linears are fused, nothing is done that serving does not need, and tokens
of all rows and prompts go through together. Owns the pass over such a model's own modules. Knows
no cache: what attends is handed in with the step.
"""
# pyright: basic
# transformers' modules are reached by their names.

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as ReadOnlySequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel

from services.worker.engine.linears import fuse_linears, pack_linears
from services.worker.engine.step import AttentionKind, Step

# Pre-norm decoders with rotary positions over the whole head, and a gated MLP.
_CLASSES = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")


def is_llama_shaped(model: PreTrainedModel) -> bool:
    """Tell whether a `Decoder` computes what the model does."""
    known = type(model).__module__.startswith("transformers.models.")
    # On several devices transformers' own forward pass carries the hidden states over.
    spread = len(set(getattr(model, "hf_device_map", {}).values())) > 1
    return known and not spread and type(model).__name__ in _CLASSES


_Function = TypeVar("_Function", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class _Layer:
    """One layer's modules; `query_norm` and `key_norm` are None where there are none."""

    input_norm: torch.Tensor
    qkv: nn.Module
    query_norm: torch.Tensor | None
    key_norm: torch.Tensor | None
    output: nn.Module
    mlp_norm: torch.Tensor
    gate_up: nn.Module
    down: nn.Module
    kind: AttentionKind


class Decoder:
    """The model, taken over: it cannot be called itself afterwards."""

    def __init__(self, model: PreTrainedModel) -> None:
        """Fuse and pack the Linears of a model that `is_llama_shaped`, in place."""
        inner: Any = model.model
        config: Any = model.config
        self._config = config
        self._embed = inner.embed_tokens
        self._rotary = inner.rotary_emb
        self._final_norm = inner.norm.weight
        self._eps = config.rms_norm_eps
        self._activation = inner.layers[0].mlp.act_fn
        attention = inner.layers[0].self_attn
        self._head_dim = attention.head_dim
        self._heads = config.num_attention_heads
        self._kv_heads = config.num_key_value_heads
        for layer in inner.layers:
            fuse_linears(layer.self_attn, ("q_proj", "k_proj", "v_proj"), "qkv_proj")
            fuse_linears(layer.mlp, ("gate_proj", "up_proj"), "gate_up_proj")
        pack_linears(model)
        self._head = model.lm_head
        self._layers = [self._layer(module) for module in inner.layers]
        compiled = _compile if model.device.type == "cuda" else _leave
        self._before = compiled(self._before_attention)
        self._after = compiled(self._after_attention)

    def logits(self, step: Step, wanted: ReadOnlySequence[int] | None) -> torch.Tensor:
        """Return [wanted, vocabulary]; see `forward.Forward`."""
        hidden = self._hidden(step)
        return self._head(
            hidden
            if wanted is None
            else hidden[torch.tensor(wanted, dtype=torch.int64, device=hidden.device)]
        )

    def _hidden(self, step: Step) -> torch.Tensor:
        hidden = self._embed(step.input_ids)
        cos, sin = self._rotation(hidden, step.positions)
        for index, layer in enumerate(self._layers):
            query, key, value = self._before(layer, hidden, cos, sin)
            attended = step.attend(index, query, key, value, layer.kind)
            hidden = self._after(layer, hidden, attended)
        return self._norm(hidden, self._final_norm)

    def _before_attention(
        self, layer: _Layer, hidden: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return query, key and value, [tokens, heads, head_dim], positions in them."""
        heads, kv_heads = self._heads, self._kv_heads
        qkv = layer.qkv(self._norm(hidden, layer.input_norm))
        qkv = qkv.view(-1, heads + 2 * kv_heads, self._head_dim)
        rotated, value = qkv[:, : heads + kv_heads], qkv[:, heads + kv_heads :]
        if layer.query_norm is not None and layer.key_norm is not None:
            query = self._norm(rotated[:, :heads], layer.query_norm)
            rotated = torch.cat((query, self._norm(rotated[:, heads:], layer.key_norm)), dim=1)
        # The second half of `sin` is that of the formula, the first its negative.
        turned = torch.roll(rotated, self._head_dim // 2, dims=-1)
        rotated = torch.addcmul(rotated * cos, turned, sin)
        return rotated[:, :heads], rotated[:, heads:], value

    def _after_attention(
        self, layer: _Layer, hidden: torch.Tensor, attended: torch.Tensor
    ) -> torch.Tensor:
        """Return the hidden states that the layer gives, [tokens, hidden]."""
        hidden = hidden + layer.output(attended.reshape(len(hidden), -1))
        gate, up = layer.gate_up(self._norm(hidden, layer.mlp_norm)).chunk(2, dim=-1)
        return hidden.add_(layer.down(self._activation(gate).mul_(up)))

    def _norm(self, states: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Root mean square norm over the last dimension (Zhang and Sennrich, 2019)."""
        if states.dtype is torch.float32 or states.device.type != "cpu":
            return functional.rms_norm(states, weight.shape, weight, self._eps)
        # The same in fewer operators; torch's takes more than one kernel on a CPU.
        wide = states.float()
        length = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
        scale = length.square_().mul_(1 / wide.shape[-1]).add_(self._eps).rsqrt_()
        return wide.mul_(scale).to(states.dtype).mul_(weight)

    def _rotation(
        self, hidden: torch.Tensor, positions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return cosines and signed sines of the positions, [tokens, 1, head_dim]."""
        cos, sin = self._rotary(hidden, positions[None])
        half = self._head_dim // 2
        signed = torch.cat((-sin[..., :half], sin[..., half:]), dim=-1)
        return cos[0][:, None], signed[0][:, None]

    def _layer(self, module: Any) -> _Layer:
        attention, mlp = module.self_attn, module.mlp
        qkv = getattr(attention, "qkv_proj", None)
        gate_up = getattr(mlp, "gate_up_proj", None)
        query_norm, key_norm = (getattr(attention, name, None) for name in ("q_norm", "k_norm"))
        return _Layer(
            input_norm=module.input_layernorm.weight,
            qkv=_Beside(attention.q_proj, attention.k_proj, attention.v_proj)
            if qkv is None
            else qkv,
            query_norm=None if query_norm is None else query_norm.weight,
            key_norm=None if key_norm is None else key_norm.weight,
            output=attention.o_proj,
            mlp_norm=module.post_attention_layernorm.weight,
            gate_up=_Beside(mlp.gate_proj, mlp.up_proj) if gate_up is None else gate_up,
            down=mlp.down_proj,
            kind=AttentionKind(attention.scaling, self._window(attention)),
        )

    def _window(self, attention: Any) -> int | None:
        """Mistral's layers all slide or none; Qwen's say so themselves; Llama's never do."""
        of_all = self._config.sliding_window if self._config.model_type == "mistral" else None
        return getattr(attention, "sliding_window", of_all)


def _compile(function: _Function) -> _Function:
    """On a GPU a layer's small operators become few kernels; the step's line has few lengths."""
    return cast("_Function", torch.compile(function))


def _leave(function: _Function) -> _Function:
    return function


class _Beside(nn.Module):
    """Linears that could not be fused."""

    def __init__(self, *parts: nn.Module) -> None:
        super().__init__()
        self._parts = nn.ModuleList(parts)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return their outputs one after the other."""
        return torch.cat([part(x) for part in self._parts], dim=-1)
