"""The older kind of delta, a model folder of differences: target = base + delta.

FastChat's and LLMZoo's tools make these, in float16. Nothing in them tells the base, so a wrong one
shows by its shapes alone, and the result is rounded: the base is converted to the delta's dtype and
the sum rounded once to it, to nearest even, as those tools do. Rows of the vocabulary that the base
lacks (`<pad>`) come from the delta alone, as if the base had zeros there; where the base has them
they are added like all others. A tied head is added once. Owns that sum.
"""

from __future__ import annotations

from pathlib import Path

import torch

from shared.compression.checkpoint import CheckpointReader, CheckpointWriter
from shared.compression.checkpoint.identity import identity_of
from shared.compression.deltas.pairing import Pair, pair_tensors
from shared.compression.deltas.summary import Summary
from shared.errors import CheckpointMismatch
from shared.progress import Report

ADDITIVE = "additive"


def apply_additive(
    base: Path, delta: Path, out: Path, report: Report, *, max_shard_bytes: int
) -> Summary:
    """Write to the new folder `out` the sum of two models; raises as `apply_delta`."""
    base_reader, delta_reader = CheckpointReader(base), CheckpointReader(delta)
    pairs = {pair.target.name: pair for pair in pair_tensors(base_reader, delta_reader)}
    for info in delta_reader:
        if not info.dtype.is_floating_point:
            raise CheckpointMismatch(
                f"{info.dtype} cannot be added", file=info.file, tensor=info.name
            )
    writer = CheckpointWriter(
        out,
        delta_reader,
        companions_of=delta,
        max_shard_bytes=max_shard_bytes,
        identity=identity_of(f"{ADDITIVE} apply", base_reader, delta_reader),
    )
    with writer:
        writer.write_pending(
            lambda name: (_sum(pairs[name], base_reader, delta_reader), None), report
        )
    return Summary(out, ADDITIVE, len(pairs), writer.total_bytes)


def _sum(pair: Pair, base_reader: CheckpointReader, delta_reader: CheckpointReader) -> torch.Tensor:
    tensor = delta_reader.tensor(pair.target.name)
    if pair.base is not None:
        base = base_reader.tensor(pair.base.name).to(tensor.dtype)
        rows = slice(min(len(tensor), len(base))) if tensor.dim() else ...
        tensor[rows].add_(base[rows])
    return tensor
