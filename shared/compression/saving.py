"""A model in memory -> a folder, whole or not at all.

Owns the gathering to the CPU and the way from a finished folder to its name. What the files hold is
transformers' business, so that `from_pretrained` loads them.
"""
# pyright: basic
# Transformers is partly untyped.

from __future__ import annotations

import os
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from shared.compression.checkpoint.checksums import CHECKSUMS, format_checksums
from shared.compression.checkpoint.partial import PartialFolder, settle
from shared.compression.checkpoint.shards import as_not_written
from shared.errors import CheckpointExists, CheckpointNotWritten

_MAX_SHARD_SIZE = "2GB"


def safe_save(
    model: PreTrainedModel,
    folder: Path,
    tokenizer: PreTrainedTokenizerBase | None = None,
    *,
    overwrite: bool = False,
    max_shard_size: str = _MAX_SHARD_SIZE,
) -> None:
    """Write `model`, in its own dtypes and from whatever devices, to the new folder `folder`.

    A save that is killed leaves `folder` as it was: absent, or the whole model before. Tied weights
    are written once.

    Args:
        model: stays as it is.
        folder: to appear.
        tokenizer: saved beside the model.
        overwrite: replace an existing folder, in one step.
        max_shard_size: as transformers has it.

    Raises:
        CheckpointExists: the folder is there, or another process is writing it.
        CheckpointNotWritten: the disk is full or refuses.
    """
    target = folder.absolute()
    if os.path.lexists(target) and not (overwrite and target.is_dir()):
        raise CheckpointExists("is there already", file=target)
    partial = PartialFolder(target)
    try:
        with as_not_written(target):
            partial.open(identity="")
            _save_parts(model, tokenizer, partial.path, max_shard_size)
            _settle_all(partial.path)
            partial.publish(overwrite=overwrite)
    except SafetensorError as fault:  # its way to say that the disk failed
        raise CheckpointNotWritten(f"cannot be written: {fault}", file=target) from fault
    finally:
        partial.close(discard=True)


def _save_parts(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None,
    folder: Path,
    max_shard_size: str,
) -> None:
    state = _on_cpu(model.state_dict())
    model.save_pretrained(folder, state_dict=state, max_shard_size=max_shard_size)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)


def _on_cpu(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the state on the CPU; tensors that are one on their device stay one."""
    copies: dict[tuple[object, ...], torch.Tensor] = {}
    gathered: dict[str, torch.Tensor] = {}
    for name, tensor in state.items():
        place = (tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        if place not in copies or not tensor.numel():
            copies[place] = tensor.detach().cpu()
        gathered[name] = copies[place]
    return gathered


def _settle_all(folder: Path) -> None:
    """Bring every file to the disk, readable as other files are, with its checksum beside it."""
    digests: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            path.chmod(0o644)  # safetensors leaves it to its owner alone
            digests[path.relative_to(folder).as_posix()] = settle(path)
    (folder / CHECKSUMS).write_bytes(format_checksums(digests))
    settle(folder / CHECKSUMS)
