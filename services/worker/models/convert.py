"""One GGUF file -> one safetensors folder in bfloat16, with tokenizer and chat template.

Owns the names and the layout that llama.cpp gives to the weights of Llama models. Works
from tensor to tensor; what it does not know it refuses, since a wrong weight speaks fluently.
Knows nothing of downloads, caches and locks.
"""
# pyright: basic
# Torch, gguf and transformers are partly untyped.

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGUFReader, ReaderTensor
from gguf.quants import dequantize
from safetensors.torch import save_file
from transformers import PreTrainedTokenizerFast

from services.worker.models.faults import as_not_supported
from shared.errors import ModelNotSupported
from shared.progress import Progress, ProgressCallback, Stage

_ARCHITECTURE = "llama"
_CONFIG_KEYS = {
    "block_count": "num_hidden_layers",
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "rope.freq_base": "rope_theta",
}
_NEEDED = set(_CONFIG_KEYS.values()) - {"head_dim"}  # which follows from the others, if not given
_TOKEN_KEYS = {
    "bos_token_id": "bos_token_id",
    "eos_token_id": "eos_token_id",
    "padding_token_id": "pad_token_id",
}
_OUTER_NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def convert_gguf(gguf_file: Path, target: Path, report: ProgressCallback) -> None:
    """Write the model in `gguf_file` to the existing folder `target`.

    Raises:
        ModelNotSupported: not a GGUF file, or one of an architecture or layout not known here.
    """
    size = gguf_file.stat().st_size
    report(Progress(Stage.READING, 0, size))
    with as_not_supported(f"The GGUF file {gguf_file.name}"):
        reader = GGUFReader(gguf_file)
    config = _config(reader, gguf_file.name)
    _save_tokenizer(gguf_file, target, config["max_position_embeddings"])
    report(Progress(Stage.READING, size, size))
    weights = _weights(reader, config, report)
    size = sum(weight.nbytes for weight in weights.values())
    report(Progress(Stage.SAVING, 0, size))
    weights_file = target / "model.safetensors"
    save_file(weights, weights_file, metadata={"format": "pt"})
    weights_file.chmod(0o644)  # safetensors leaves it to its owner alone; the cache may be shared
    _save_json(target / "config.json", config)
    special = {key: config[key] for key in _TOKEN_KEYS.values() if key in config}
    _save_json(target / "generation_config.json", special)
    report(Progress(Stage.SAVING, size, size))


def _field(reader: GGUFReader, key: str) -> Any:
    """Return a metadata value, None where the file has no such key."""
    field = reader.get_field(key)
    return None if field is None else field.contents()


def _config(reader: GGUFReader, file_name: str) -> dict[str, Any]:
    """Return the content of config.json."""
    architecture = _field(reader, "general.architecture")
    if architecture != _ARCHITECTURE:
        raise ModelNotSupported(
            f"{file_name} has the architecture {architecture!r}; only {_ARCHITECTURE!r} is "
            "converted. A safetensors folder of the same model can be served."
        )
    if _field(reader, f"{_ARCHITECTURE}.rope.scaling.type") not in (None, "none"):
        raise ModelNotSupported(f"{file_name} scales its rotary positions, which is not converted")
    shapes = {tensor.name: tensor.shape for tensor in reader.tensors}
    values = {
        **{ours: _field(reader, f"{_ARCHITECTURE}.{key}") for key, ours in _CONFIG_KEYS.items()},
        **{ours: _field(reader, f"tokenizer.ggml.{key}") for key, ours in _TOKEN_KEYS.items()},
    }
    config = {key: value for key, value in values.items() if value is not None}
    lacking = [key for key in _NEEDED if key not in config]
    if lacking or "token_embd.weight" not in shapes:
        raise ModelNotSupported(f"{file_name} is no whole model: {lacking or 'weights'} missing")
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "bfloat16",
        "hidden_act": "silu",
        "tie_word_embeddings": "output.weight" not in shapes,
        "vocab_size": int(shapes["token_embd.weight"][1]),
        **config,
    }


def _weights(
    reader: GGUFReader, config: dict[str, Any], report: ProgressCallback
) -> dict[str, torch.Tensor]:
    """Return all tensors under transformers' names, in bfloat16, reporting bytes of the file."""
    total = sum(int(tensor.n_bytes) for tensor in reader.tensors)
    done = 0
    weights: dict[str, torch.Tensor] = {}
    for tensor in reader.tensors:
        report(Progress(Stage.CONVERTING, done, total))
        name = _name(tensor)
        # Unquantised tensors come as a view of the read-only file, which torch would warn of.
        values = np.require(dequantize(tensor.data, tensor.tensor_type), requirements="W")
        weight = torch.from_numpy(values)
        if ".q_proj." in name:
            weight = _rotary_halves(weight, config["num_attention_heads"])
        elif ".k_proj." in name:
            weight = _rotary_halves(weight, config["num_key_value_heads"])
        weights[name] = weight.to(torch.bfloat16).contiguous()
        done += int(tensor.n_bytes)
    report(Progress(Stage.CONVERTING, done, total))
    return weights


def _name(tensor: ReaderTensor) -> str:
    """Return transformers' name of a tensor."""
    if tensor.name in _OUTER_NAMES:
        return _OUTER_NAMES[tensor.name]
    match tensor.name.split("."):
        case ["blk", layer, part, "weight"] if part in _LAYER_NAMES:
            return f"model.layers.{layer}.{_LAYER_NAMES[part]}.weight"
        case _:
            raise ModelNotSupported(f"The GGUF tensor {tensor.name!r} has no place in this model")


def _rotary_halves(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Undo llama.cpp's row order of q and k, (pair, half) -> (half, pair) within each head.

    llama.cpp keeps the two rows that rotate together side by side, transformers half a head apart.
    """
    rows = weight.shape[0] // heads // 2
    pairs = weight.reshape(heads, rows, 2, *weight.shape[1:])
    return pairs.swapaxes(1, 2).reshape(weight.shape)


def _save_tokenizer(gguf_file: Path, target: Path, max_length: int) -> None:
    """Write tokenizer.json, its config, and the chat template."""
    with as_not_supported(f"The tokenizer in {gguf_file.name}"):
        tokenizer = PreTrainedTokenizerFast.from_pretrained(
            gguf_file.parent, gguf_file=gguf_file.name
        )
    tokenizer.model_max_length = max_length
    tokenizer.save_pretrained(target)


def _save_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
