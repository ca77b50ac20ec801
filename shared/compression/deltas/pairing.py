"""Which tensor of the base belongs to which of the target, checked before anything is written.

Owns the rules: the names must be the same, but for tied heads, buffers that a model computes
itself, and the prefix that some files have before every name; the shapes, but for the rows of the
vocabulary; the dtypes, but for floating ones. Reads headers only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from shared.compression.checkpoint import CheckpointReader, TensorInfo
from shared.compression.checkpoint.vocabulary import has_token_rows
from shared.errors import CheckpointMismatch

_COMPUTED = re.compile(r"\.(rotary_emb\.inv_freq|(attn|attention)\.(masked_)?bias)$")
_PREFIXES = ("transformer.", "model.", "gpt_neox.")


@dataclass(frozen=True, slots=True)
class Pair:
    """A tensor of the target with its base, None where it is kept whole."""

    target: TensorInfo
    base: TensorInfo | None


def pair_tensors(base: CheckpointReader, target: CheckpointReader) -> list[Pair]:
    """Return a pair for every tensor of the target, in its order.

    Raises:
        CheckpointMismatch: the two do not belong together; it names file and tensor.
    """
    base_names = _in_targets_words(base.names, target.names)
    for head, embedding in base.tied.items():
        base_names.setdefault(head, embedding)
    needed = {name for name in base_names if not _COMPUTED.search(name)}
    unused = needed - set(target.names) - set(target.tied) - set(base.tied)
    for name in sorted(unused):
        raise CheckpointMismatch(
            "is in the base and not in the target", file=target.folder, tensor=name
        )
    return [_pair(base, base_names.get(info.name), info) for info in target]


def _pair(base: CheckpointReader, base_name: str | None, target: TensorInfo) -> Pair:
    computed = _COMPUTED.search(target.name) is not None
    if base_name is None:
        if computed:
            return Pair(target, None)
        raise CheckpointMismatch(
            "is in the target and not in the base", file=base.folder, tensor=target.name
        )
    found = base.info(base_name)
    rows_differ = has_token_rows(target.name) and found.shape[1:] == target.shape[1:]
    if found.shape != target.shape and not (rows_differ and found.shape and target.shape):
        if computed:
            return Pair(target, None)
        raise CheckpointMismatch(
            f"has the shape {list(found.shape)} in the base, {list(target.shape)} in {target.file}",
            file=found.file,
            tensor=target.name,
        )
    both_floating = found.dtype.is_floating_point and target.dtype.is_floating_point
    if found.dtype != target.dtype and not both_floating:
        raise CheckpointMismatch(
            f"is {found.dtype} in the base, {target.dtype} in {target.file}",
            file=found.file,
            tensor=target.name,
        )
    return Pair(target, found)


def _in_targets_words(base: Iterable[str], target: Iterable[str]) -> dict[str, str]:
    """Return the base's names by what the target calls them.

    BLOOM's own files begin at `h.0`, those that transformers saves at `transformer.h.0`.
    """
    names, wanted = list(base), set(target)
    candidates: list[Mapping[str, str]] = [{name: name for name in names}]
    for prefix in _PREFIXES:
        candidates.append({f"{prefix}{name}": name for name in names})
        candidates.append({name.removeprefix(prefix): name for name in names})
    return dict(max(candidates, key=lambda words: len(wanted & words.keys())))
