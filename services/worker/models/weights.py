"""A folder's weights as they are, in a model of transformers'.

Owns that call, how far it is, and that no weight is made up. Packed weights are
`shared.compression`'s.
"""
# pyright: basic
# Torch and transformers are partly untyped.

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from shared.errors import ModelNotSupported
from shared.progress import Report
from shared.settings import WorkerSettings

_BAR = "Loading weights"  # as transformers names it


def load_whole(
    files: Sequence[Path],
    config: PretrainedConfig,
    *,
    device: torch.device,
    dtype: torch.dtype,
    settings: WorkerSettings,
    report: Report,
) -> PreTrainedModel:
    """Return the model with the weights in `files` as they are, cast to `dtype`.

    Args:
        files: the weights in a model folder.
        config: of the model.
        device: where the model goes.
        dtype: of its weights in memory.
        settings: what of others' formats and code is permitted.
        report: called with the bytes loaded and those in all, each tensor counted alike.

    Raises:
        ModelNotSupported: a weight is missing.
    """
    path = files[0].parent
    size = sum(file.stat().st_size for file in files)
    with _reporting(lambda done, total: report(size * done // total, size)):
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            path,
            config=config,
            dtype=dtype,
            use_safetensors=None if settings.allow_pickle else True,
            output_loading_info=True,
            local_files_only=True,
            trust_remote_code=settings.trust_remote_code,
        )
    model, info = loaded
    # transformers fills a missing weight with random numbers and only warns.
    if info["missing_keys"]:
        missing = ", ".join(sorted(info["missing_keys"])[:3])
        raise ModelNotSupported(f"The model in {path} is incomplete: {missing} is missing")
    return model.eval().requires_grad_(requires_grad=False).to(device)


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
