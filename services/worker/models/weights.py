"""A folder's weights as they are, in a model of transformers'.

Owns that call, how far it is, and that no weight is made up. Packed weights are
`shared.compression`'s.
"""
# pyright: basic
# Torch and transformers are partly untyped.

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
import torch
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from shared.errors import ModelNotSupported, ModelTooLarge
from shared.progress import Report
from shared.settings import WorkerSettings

log = structlog.get_logger(__name__)

# Of each device; the rest is the KV cache's and the activations', as far as they are not balanced.
_SPREAD_SHARE = 0.9
_BAR = "Loading weights"  # as transformers names it


@dataclass(frozen=True, slots=True)
class Target:
    """Where weights go.

    Attributes:
        device: of all, or the first of several.
        dtype: of the weights in memory.
        spread: bytes free on each of several devices of this host, by transformers' names for
            them, over which whole layers are to lie; empty: all lie on `device`.
    """

    device: torch.device
    dtype: torch.dtype
    spread: Mapping[int | str, int] = field(default_factory=dict[int | str, int])

    def spread_options(self) -> dict[str, Any]:
        """Return what transformers is told of several devices."""
        if not self.spread:
            return {}
        most = {name: int(free * _SPREAD_SHARE) for name, free in self.spread.items()}
        return {"device_map": "auto", "max_memory": most}


def load_whole(
    files: Sequence[Path],
    config: PretrainedConfig,
    target: Target,
    *,
    settings: WorkerSettings,
    report: Report,
) -> PreTrainedModel:
    """Return the model with the weights in `files` as they are.

    Args:
        files: the weights in a model folder.
        config: of the model.
        target: where they go, and in which dtype.
        settings: what of others' formats and code is permitted.
        report: called with the bytes loaded and those in all, each tensor counted alike.

    Raises:
        ModelNotSupported: a weight is missing.
        ModelTooLarge: the layers do not fit the devices over which they are to lie.
    """
    path = files[0].parent
    size = sum(file.stat().st_size for file in files)
    with _reporting(lambda done, total: report(size * done // total, size)):
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            path,
            config=config,
            dtype=target.dtype,
            use_safetensors=None if settings.allow_pickle else True,
            output_loading_info=True,
            local_files_only=True,
            trust_remote_code=settings.trust_remote_code,
            **target.spread_options(),
        )
    model, info = loaded
    # transformers fills a missing weight with random numbers and only warns.
    if info["missing_keys"]:
        missing = ", ".join(sorted(info["missing_keys"])[:3])
        raise ModelNotSupported(f"The model in {path} is incomplete: {missing} is missing")
    model.eval().requires_grad_(requires_grad=False)
    if not target.spread:
        return model.to(target.device)
    # transformers keeps no map where all fit one device, and lays the rest elsewhere by itself.
    devices: dict[str, int | str] = getattr(model, "hf_device_map", {})
    if outside := set(devices.values()) - set(target.spread):
        rest = " and ".join(sorted(map(str, outside)))
        raise ModelTooLarge(
            f"The model's layers do not fit the devices ({len(target.spread)}) of this host; "
            f"the rest would go to {rest}"
        )
    log.info("layers_spread", devices=devices)
    return model


@contextmanager
def _reporting(report: Report) -> Generator[None]:
    """Let transformers' bar of the weights it loads report instead of being drawn."""

    def hook(
        make: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]
    ) -> Iterable[Any]:
        if options.get("desc") == _BAR and args:
            return _counted(args[0], report)
        return make(*args, **options)

    before = transformers_logging.set_tqdm_hook(hook)
    try:
        yield
    finally:
        transformers_logging.set_tqdm_hook(before)


def _counted(tensors: Iterable[Any], report: Report) -> Iterator[Any]:
    """Yield what a bar would, and report after each."""
    whole = list(tensors)
    for done, tensor in enumerate(whole, start=1):
        yield tensor
        report(done, len(whole))
