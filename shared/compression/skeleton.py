"""A model without weights: its modules, on no device, and where its tensors belong.

Owns the way from a checkpoint's names to a model's, and which layers can be packed. Allocates no
weight; the small buffers that a model computes for itself are real.
"""
# pyright: basic
# Torch, accelerate and transformers are partly untyped.

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from accelerate import init_empty_weights
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from shared.compression.compress_module import is_linear
from shared.errors import ModelNotSupported


def read_config(folder: Path, *, trust_remote_code: bool = False) -> PretrainedConfig:
    """Return the model's config.

    Raises:
        ModelNotSupported: transformers does not know or take it.
    """
    try:
        return AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=trust_remote_code
        )
    except (ValueError, KeyError, TypeError, OSError) as fault:
        raise ModelNotSupported(f"The model in {folder} cannot be made: {fault}") from fault


def make_skeleton(
    config: PretrainedConfig, dtype: torch.dtype, *, trust_remote_code: bool = False
) -> PreTrainedModel:
    """Return the causal language model of `config`, its parameters on the meta device.

    Raises:
        ModelNotSupported: it is none.
    """
    try:
        with init_empty_weights(include_buffers=False):
            model = AutoModelForCausalLM.from_config(
                config, dtype=dtype, trust_remote_code=trust_remote_code
            )
    except ValueError as fault:
        name = type(config).__name__
        raise ModelNotSupported(f"{name} is no causal language model: {fault}") from fault
    return model.eval().requires_grad_(requires_grad=False)


def packable(model: PreTrainedModel, skip: Iterable[str] = ()) -> Iterator[str]:
    """Yield the names of the Linears that can be packed: not skipped, not tied to an embedding."""
    patterns = tuple(skip)
    tied = {target.rpartition(".")[0] for target in _ties(model)}
    for name, module in model.named_modules():
        if not is_linear(module) or name in tied:
            continue
        if not any(fnmatchcase(name, pattern) for pattern in patterns):
            yield name


class Names:
    """From the names in a checkpoint to those in a model.

    They differ where a checkpoint was saved without the head, or of the head's model.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        """Read the model's modules."""
        self._modules = dict(model.named_modules())
        self._prefix = f"{model.base_model_prefix}."

    def find(self, name: str) -> tuple[str, str] | None:
        """Return module and leaf of a tensor, such as (`model.norm`, `weight`), or None."""
        for path, leaf in self._places(name):
            module = self._modules.get(path)
            if module is not None and self._has(module, leaf):
                return path, leaf
        return None

    def layer(self, name: str, layers: Iterable[str]) -> tuple[str, str] | None:
        """Return layer and leaf of a tensor of one of `layers`, or None."""
        known = frozenset(layers)
        return next((place for place in self._places(name) if place[0] in known), None)

    def _places(self, name: str) -> Iterator[tuple[str, str]]:
        for candidate in (name, self._prefix + name, name.removeprefix(self._prefix)):
            path, _, leaf = candidate.rpartition(".")
            yield path, leaf

    @staticmethod
    def _has(module: nn.Module, leaf: str) -> bool:
        return leaf in module._parameters or leaf in module._buffers  # noqa: SLF001 - no other way


def _ties(model: PreTrainedModel) -> list[str]:
    """Return the parameters that are others' under a second name."""
    if not model.config.get_text_config().tie_word_embeddings:
        return []
    keys = model._tied_weights_keys or {}  # noqa: SLF001 - transformers' own declaration
    return list(keys)
