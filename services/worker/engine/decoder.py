"""A Llama-shaped model's forward pass, written for one line of tokens.

The classes listed here differ in details that this module knows: biases, norms of queries and keys,
sliding windows. Their Linears are fused, nothing is done that serving does not need, and tokens
of all rows and prompts go through together. Owns what is taken from the model and where. Knows
no cache: what attends is handed in with the step.
"""
# pyright: basic
# transformers' modules are reached by their names.

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as ReadOnlySequence
from typing import Any

import structlog
import torch
from torch import nn
from transformers import PreTrainedModel

from services.worker.engine.decoder_layers import (
    DecoderLayer,
    DecoderLayers,
    GatedMLP,
    Heads,
    RMSNorm,
    SiluMLP,
    compile_parts,
)
from services.worker.engine.layer_attention import LayerSegment
from services.worker.engine.linears import Multiplied, fuse_linears, multiplication, pack_linears
from services.worker.engine.script import without_python
from services.worker.engine.step import Step
from shared.compression import Multiplication

log = structlog.get_logger(__name__)

# Pre-norm decoders with rotary positions over the whole head, and a gated MLP.
_CLASSES = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")
_SILU = {"silu", "swish"}


def is_llama_shaped(model: PreTrainedModel) -> bool:
    """Tell whether a `Decoder` computes what the model does."""
    known = type(model).__module__.startswith("transformers.models.")
    # On several devices transformers' own forward pass carries the hidden states over.
    spread = len(set(getattr(model, "hf_device_map", {}).values())) > 1
    return known and not spread and type(model).__name__ in _CLASSES


class Decoder:
    """The model, taken over: it cannot be called itself afterwards."""

    def __init__(self, model: PreTrainedModel) -> None:
        """Fuse and pack the Linears of a model that `is_llama_shaped`, in place."""
        inner: Any = model.model
        config: Any = model.config
        attention = inner.layers[0].self_attn
        kv_heads = config.num_key_value_heads
        self._heads = Heads(kv_heads, config.num_attention_heads // kv_heads, attention.head_dim)
        self._config = config
        self._embed = inner.embed_tokens
        self._rotary = inner.rotary_emb
        self._windows = [self._window(module.self_attn) for module in inner.layers]
        order = self._grouped_order()
        for layer in inner.layers:
            fuse_linears(layer.self_attn, ("q_proj", "k_proj", "v_proj"), "qkv_proj", order)
        pack_linears(model)
        self._head = model.lm_head
        self._multiplications: list[Multiplication | Multiplied] = []
        layers = [self._layer(module) for module in inner.layers]
        self.layers = DecoderLayers(layers, self._norm(inner.norm))
        self._run = self._without_python(model)

    def logits(self, step: Step, wanted: ReadOnlySequence[int] | None) -> torch.Tensor:
        """Return [wanted, vocabulary]; see `forward.Forward`."""
        hidden = self._embed(step.input_ids)
        cos, sin = self._rotation(hidden, step.positions)
        hidden = self._run(hidden, cos, sin, self._segments(step, hidden), step.padding)
        if wanted is not None:
            hidden = hidden[torch.tensor(wanted, dtype=torch.int64, device=hidden.device)]
        return self._head(hidden)

    def _segments(self, step: Step, hidden: torch.Tensor) -> list[list[LayerSegment]]:
        like = hidden.new_empty(0, self._heads.kv_heads, self._heads.dim)
        return [
            [
                each.layer(index, like, like, window=window, groups=self._heads.groups)
                for each in step.segments
            ]
            for index, window in enumerate(self._windows)
        ]

    def _without_python(self, model: PreTrainedModel) -> Callable[..., torch.Tensor]:
        if model.device.type == "cuda":
            compile_parts(self.layers)
            return self.layers
        compiles = all(each.compiles for each in self._multiplications)
        if model.device.type == "cpu" and compiles and self._config.hidden_act in _SILU:
            return without_python(self.layers)
        log.info("layers_run_in_python", model=type(model).__name__)
        return self.layers

    def _grouped_order(self) -> torch.Tensor:
        """Return the order of the outputs in which each KV head follows its query heads.

        So queries, keys and values of a step are views of one tensor.
        """
        kv_heads, groups, dim = self._heads.kv_heads, self._heads.groups, self._heads.dim
        heads = torch.arange((groups + 2) * kv_heads)
        query, key, value = heads.split([groups * kv_heads, kv_heads, kv_heads])
        grouped = torch.cat((query.view(kv_heads, -1), key[:, None], value[:, None]), dim=1)
        return (grouped.flatten()[:, None] * dim + torch.arange(dim)).flatten()

    def _rotation(
        self, hidden: torch.Tensor, positions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return cosines and signed sines of the positions, [tokens, 1, 1, head_dim]."""
        cos, sin = self._rotary(hidden, positions[None])
        half = self._heads.dim // 2
        signed = torch.cat((-sin[..., :half], sin[..., half:]), dim=-1)
        return cos[0][:, None, None], signed[0][:, None, None]

    def _layer(self, module: Any) -> DecoderLayer:
        attention, mlp = module.self_attn, module.mlp
        head_norms = None
        if getattr(attention, "q_norm", None) is not None:
            head_norms = self._norm(attention.q_norm), self._norm(attention.k_norm)
        return DecoderLayer(
            self._heads,
            norms=(
                self._norm(module.input_layernorm),
                self._norm(module.post_attention_layernorm),
            ),
            head_norms=head_norms,
            linears=(self._linear(attention.qkv_proj), self._linear(attention.o_proj)),
            mlp=self._mlp(mlp),
            scale=attention.scaling,
        )

    def _norm(self, norm: Any) -> RMSNorm:
        return RMSNorm(norm.weight, self._config.rms_norm_eps)

    def _mlp(self, mlp: Any) -> nn.Module:
        gate, up, down = map(self._linear, (mlp.gate_proj, mlp.up_proj, mlp.down_proj))
        if self._config.hidden_act in _SILU:
            return SiluMLP(gate, up, down)
        return GatedMLP(gate, up, down, mlp.act_fn)

    def _linear(self, linear: nn.Module) -> nn.Module:
        self._multiplications.append(multiplication(linear))
        return self._multiplications[-1]

    def _window(self, attention: Any) -> int | None:
        """Mistral's layers all slide or none; Qwen's say so themselves; Llama's never do."""
        of_all = self._config.sliding_window if self._config.model_type == "mistral" else None
        return getattr(attention, "sliding_window", of_all)
