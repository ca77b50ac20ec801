"""Two models -> a delta.

Owns the order of things: check all names and shapes, then go from tensor to tensor. In memory at
once are a tensor of the target and its base.
"""

from __future__ import annotations

from pathlib import Path

import torch

from shared.compression.checkpoint import CheckpointReader, CheckpointWriter, TensorSpec
from shared.compression.checkpoint.identity import identity_of
from shared.compression.checkpoint.partial import Note
from shared.compression.checkpoint.tensors import as_bytes
from shared.compression.checkpoint.vocabulary import is_embedding, is_head
from shared.compression.checkpoint.writer import MAX_SHARD_BYTES
from shared.compression.deltas.bits import digest_of, integer_of, xor_with_base
from shared.compression.deltas.manifest import (
    FORMAT,
    MANIFEST,
    STEM,
    VERSION,
    BaseTensor,
    DeltaTensor,
    Manifest,
    format_manifest,
)
from shared.compression.deltas.pairing import Pair, pair_tensors
from shared.compression.deltas.summary import Summary
from shared.progress import Report, report_nothing

_SHA256, _BASE_SHA256 = "sha256", "base_sha256"


def make_delta(
    base: Path,
    target: Path,
    out: Path,
    report: Report = report_nothing,
    *,
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> Summary:
    """Write to the new folder `out` what turns the model in `base` into the one in `target`.

    Raises:
        CheckpointMismatch: the two do not belong together.
        CheckpointDamaged, ModelNotThere, ModelNotSupported: one of them cannot be read.
        CheckpointExists, CheckpointNotWritten: `out` cannot be written.
    """
    base_reader, target_reader = CheckpointReader(base), CheckpointReader(target)
    tied = _stored_twice(target_reader)
    pairs = {
        pair.target.name: pair
        for pair in pair_tensors(base_reader, target_reader)
        if pair.target.name not in tied
    }
    writer = CheckpointWriter(
        out,
        [_spec(pair) for pair in pairs.values()],
        companions_of=target,
        stem=STEM,
        max_shard_bytes=max_shard_bytes,
        identity=identity_of(f"{FORMAT} {VERSION} make", base_reader, target_reader),
    )
    with writer:
        writer.write_pending(
            lambda name: _difference(pairs[name], base_reader, target_reader), report
        )
        entries = {name: _entry(pair, writer.notes[name]) for name, pair in pairs.items()}
        writer.add_file(MANIFEST, format_manifest(Manifest(entries, tied)))
    return Summary(out, f"{FORMAT} {VERSION}", len(pairs), writer.total_bytes)


def _spec(pair: Pair) -> TensorSpec:
    return TensorSpec(pair.target.name, pair.target.shape, integer_of(pair.target.dtype))


def _difference(
    pair: Pair, base_reader: CheckpointReader, target_reader: CheckpointReader
) -> tuple[torch.Tensor, Note]:
    """Return the bits of the delta, and the digests of what it was made from."""
    tensor = target_reader.tensor(pair.target.name)
    note = {_SHA256: digest_of(tensor)}
    if pair.base is not None:
        base = base_reader.tensor(pair.base.name)
        note[_BASE_SHA256] = digest_of(base)
        xor_with_base(tensor, base)
    return tensor.view(integer_of(tensor.dtype)), note


def _entry(pair: Pair, note: Note) -> DeltaTensor:
    base = None
    if pair.base is not None:
        base = BaseTensor(pair.base.name, pair.base.dtype, pair.base.shape, note[_BASE_SHA256])
    return DeltaTensor(pair.target.dtype, note[_SHA256], base)


def _stored_twice(target: CheckpointReader) -> dict[str, str]:
    """Return {head: embedding} where a tied pair lies in the files twice, else nothing."""
    embeddings = [info for info in target if is_embedding(info.name)]
    for head in target:
        for embedding in embeddings:
            alike = (head.shape, head.dtype) == (embedding.shape, embedding.dtype)
            if is_head(head.name) and alike and _equal(target, head.name, embedding.name):
                return {head.name: embedding.name}
    return {}


def _equal(reader: CheckpointReader, first: str, second: str) -> bool:
    return torch.equal(as_bytes(reader.tensor(first)), as_bytes(reader.tensor(second)))
