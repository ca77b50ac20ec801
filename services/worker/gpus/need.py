"""Which GPUs a model may run on and how many of them, told before torch is imported.

Owns the estimate, from the model's folder and the settings; it errs towards one GPU more. What
really fits is `preflight`'s to say, once the GPUs are chosen and their free memory is known.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from services.worker.gpus.nvml import Gpu
from shared.config_numbers import CONTEXT, kv_bytes_per_token, number_of
from shared.errors import ConfigurationError
from shared.model_folder import CONFIG, inspect_folder, read_json
from shared.settings import WorkerSettings

OWN_PACKING = "llmzoo"
"""`shared.compression.packing.METHOD`, whose package imports torch."""

_STORED_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
# Of a GPU's memory; the rest is CUDA's own, the activations' and other programs'.
_USABLE = 0.9
# What a model that needs several GPUs gets at least for its KV cache, as a part of its weights.
_KV_SHARE = 0.25
# A sequence needs room in the part of the rest that a KV cache takes (`engine.memory`).
_MARGIN = 1.25
# What weights are taken for where config.json does not tell how large a sequence is.
_UNKNOWN = 1.5


def choose_gpus(
    folder: Path, settings: WorkerSettings, gpus: Sequence[Gpu]
) -> tuple[list[Gpu], int]:
    """Return the GPUs that are fit for the model in `folder`, and how many of them it needs.

    One, if it fits into one that is there; else as many as hold it and a good KV cache, or all.

    Raises:
        ConfigurationError: fewer are there than are asked for.
        ModelLoadError: the folder is none of a model.
    """
    if settings.gpus > len(gpus):
        raise ConfigurationError(
            f"LLMZOO_GPUS is {settings.gpus}, but there are only {len(gpus)} GPUs here",
            param="gpus",
        )
    if settings.gpus:
        return list(gpus), settings.gpus
    config = read_json(folder / CONFIG)
    if settings.load_8bit or settings.load_4bit or _method(config) == OWN_PACKING:
        return list(gpus), 1  # packed layers are put on one device
    weights, sequence = _sizes(folder, config, settings)
    fit = [gpu for gpu in gpus if weights + sequence <= _usable(gpu, settings)]
    if fit:
        return fit, 1
    smallest = min(_usable(gpu, settings) for gpu in gpus)
    wanted = math.ceil(max(weights * (1 + _KV_SHARE), weights + sequence) / smallest)
    return list(gpus), min(len(gpus), max(2, wanted))


def _usable(gpu: Gpu, settings: WorkerSettings) -> float:
    return gpu.total / settings.gpu_share * _USABLE


def _sizes(
    folder: Path, config: Mapping[str, Any], settings: WorkerSettings
) -> tuple[float, float]:
    """Return the bytes of the weights, and those of a whole context's keys and values."""
    nested = config.get("text_config")
    text = (
        {**config, **cast("Mapping[str, Any]", nested)} if isinstance(nested, Mapping) else config
    )
    stored = str(text.get("dtype") or text.get("torch_dtype")).removeprefix("torch.")
    number = _STORED_BYTES.get(settings.dtype, 2)  # `auto` is bfloat16 on a GPU
    files = inspect_folder(folder, allow_pickle=settings.allow_pickle)
    size = sum(file.stat().st_size for file in files)
    weights = size * number / _STORED_BYTES.get(stored, number)
    token = kv_bytes_per_token(text, number)
    context = settings.max_model_len or number_of(text, CONTEXT)
    if token is None or context is None:
        return weights * _UNKNOWN, 0
    return weights, token * min(context, settings.kv_cache_tokens or context) * _MARGIN


def _method(config: Mapping[str, Any]) -> str:
    entry = config.get("quantization_config")
    if not isinstance(entry, Mapping):
        return ""
    return str(cast("Mapping[str, object]", entry).get("quant_method", "")).lower()
