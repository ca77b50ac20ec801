"""Tiny random models as safetensors folders, Llama- and BLOOM-shaped."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BloomConfig, BloomForCausalLM, LlamaConfig, LlamaForCausalLM

ROWS = 40  # of the vocabulary
SHARD = "12KB"  # makes several shards of each
# Names in the Llama.
LAYER = "model.layers.1.mlp.down_proj.weight"
EMBEDDING = "model.embed_tokens.weight"
HEAD = "lm_head.weight"
DTYPES = [torch.float32, torch.float16, torch.bfloat16]


def llama(seed=0, *, rows=ROWS, dtype=torch.float32, tied=False):
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=rows,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=tied,
    )
    return LlamaForCausalLM(config).to(dtype)


def bloom(seed=0, *, rows=ROWS, dtype=torch.float32):
    """Its head is its embedding."""
    torch.manual_seed(seed)
    config = BloomConfig(vocab_size=rows, hidden_size=32, n_layer=2, n_head=4)
    model = BloomForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():  # its norms and biases are all alike when new
            parameter.normal_(std=0.2)
    return model.to(dtype)


def tuned(model, seed=1, strength=0.01):
    """Change every weight a little, as training does."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * strength)
    return model


def save(model, folder, shard=SHARD) -> Path:
    model.save_pretrained(folder, max_shard_size=shard)
    return folder


def bits(tensor):
    """Return a view in which NaNs and signed zeros compare as what they are."""
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def weights(folder) -> dict[str, torch.Tensor]:
    """Read with the library, not with what is under test."""
    return {
        k: v for file in sorted(folder.glob("*.safetensors")) for k, v in load_file(file).items()
    }


def same_weights(first, second) -> bool:
    """Whether two folders hold the same names, shapes, dtypes and bits."""
    one, other = weights(first), weights(second)
    return one.keys() == other.keys() and all(
        (one[k].dtype, one[k].shape) == (other[k].dtype, other[k].shape)
        and torch.equal(bits(one[k]), bits(other[k]))
        for k in one
    )


def rewrite(folder, change) -> None:
    """Replace a folder's weights by those that `change` makes of them, in one file."""
    tensors = weights(folder)
    for file in [*folder.glob("*.safetensors"), *folder.glob("*.index.json")]:
        file.unlink()
    tensors = {name: tensor.contiguous() for name, tensor in change(tensors).items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def refused(kind, task, *folders, says=None):
    """Check that nothing new lies beside the last of `folders`, and return the fault."""
    place = folders[-1].parent
    before = names_in(place)
    with pytest.raises(kind, match=says) as fault:
        task(*folders)
    assert names_in(place) == before
    return fault.value
