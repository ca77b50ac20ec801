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

from services.worker.engine.linears import add_to, fuse_linears, gated, pack_linears
from services.worker.engine.segments import AttentionKind
from services.worker.engine.step import Step

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
    gate: nn.Module
    up: nn.Module
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
        self._eps_tensor = torch.tensor(config.rms_norm_eps, device=model.device)
        self._activation = inner.layers[0].mlp.act_fn
        self._silu = config.hidden_act in {"silu", "swish"}
        attention = inner.layers[0].self_attn
        self._head_dim = attention.head_dim
        self._kv_heads = config.num_key_value_heads
        self._groups = config.num_attention_heads // config.num_key_value_heads
        order = self._grouped_order()
        for layer in inner.layers:
            fuse_linears(layer.self_attn, ("q_proj", "k_proj", "v_proj"), "qkv_proj", order)
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
        """Return query [tokens, kv_heads, groups, head_dim], key and value, positions in them."""
        kv_heads, groups, head_dim = self._kv_heads, self._groups, self._head_dim
        qkv = layer.qkv(self._norm(hidden, layer.input_norm))
        qkv = qkv.view(-1, kv_heads, groups + 2, head_dim)
        rotated, value = qkv[:, :, : groups + 1], qkv[:, :, groups + 1]
        if layer.query_norm is not None and layer.key_norm is not None:
            query = self._norm(rotated[:, :, :groups], layer.query_norm)
            key = self._norm(rotated[:, :, groups:], layer.key_norm)
            rotated = torch.cat((query, key), dim=2)
        # The second half of `sin` is that of the formula, the first its negative.
        turned = torch.roll(rotated, head_dim // 2, dims=-1)
        rotated = torch.addcmul(rotated * cos, turned, sin)
        return rotated[:, :, :groups], rotated[:, :, groups], value

    def _after_attention(
        self, layer: _Layer, hidden: torch.Tensor, attended: torch.Tensor
    ) -> torch.Tensor:
        """Return the hidden states that the layer gives, [tokens, hidden]."""
        hidden = add_to(hidden, layer.output, attended.view(len(hidden), -1))
        normed = self._norm(hidden, layer.mlp_norm)
        if self._silu:
            gate = gated(layer.gate, layer.up, normed)
        else:
            gate = self._activation(layer.gate(normed)).mul_(layer.up(normed))
        return add_to(hidden, layer.down, gate)

    def _norm(self, states: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Root mean square norm over the last dimension (Zhang and Sennrich, 2019)."""
        if states.dtype is torch.float32 or states.device.type != "cpu":
            return functional.rms_norm(states, weight.shape, weight, self._eps)
        # The same in fewer operators; torch's takes more than one kernel on a CPU.
        length = torch.linalg.vector_norm(states, dim=-1, keepdim=True, dtype=torch.float32)
        scale = torch.addcmul(self._eps_tensor, length, length, value=1 / states.shape[-1]).rsqrt_()
        return torch.mul(states, scale, out=torch.empty_like(states)).mul_(weight)

    def _grouped_order(self) -> torch.Tensor:
        """Return the order of the outputs in which each KV head follows its query heads.

        So queries, keys and values of a step are views of one tensor.
        """
        heads = torch.arange((self._groups + 2) * self._kv_heads)
        query, key, value = heads.split([self._groups * self._kv_heads, *[self._kv_heads] * 2])
        grouped = torch.cat((query.view(self._kv_heads, -1), key[:, None], value[:, None]), dim=1)
        within = torch.arange(self._head_dim)
        return (grouped.flatten()[:, None] * self._head_dim + within).flatten()

    def _rotation(
        self, hidden: torch.Tensor, positions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return cosines and signed sines of the positions, [tokens, 1, 1, head_dim]."""
        cos, sin = self._rotary(hidden, positions[None])
        half = self._head_dim // 2
        signed = torch.cat((-sin[..., :half], sin[..., half:]), dim=-1)
        return cos[0][:, None, None], signed[0][:, None, None]

    def _layer(self, module: Any) -> _Layer:
        attention, mlp = module.self_attn, module.mlp
        query_norm, key_norm = (getattr(attention, name, None) for name in ("q_norm", "k_norm"))
        return _Layer(
            input_norm=module.input_layernorm.weight,
            qkv=attention.qkv_proj,
            query_norm=None if query_norm is None else query_norm.weight,
            key_norm=None if key_norm is None else key_norm.weight,
            output=attention.o_proj,
            mlp_norm=module.post_attention_layernorm.weight,
            gate=mlp.gate_proj,
            up=mlp.up_proj,
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
