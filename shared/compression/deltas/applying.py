"""A base and a delta -> the model that the delta was made for.

Owns the order of things: check all names and shapes, then go from tensor to tensor, each compared
with the digests that the delta keeps: of the base before, of the target after. In memory at once
are a tensor of the delta and its base.
"""

from __future__ import annotations

from pathlib import Path

import torch

from shared.compression.checkpoint import (
    CheckpointReader,
    CheckpointWriter,
    TensorSpec,
    verify,
)
from shared.compression.checkpoint.checksums import CHECKSUMS
from shared.compression.checkpoint.identity import identity_of
from shared.compression.checkpoint.writer import MAX_SHARD_BYTES
from shared.compression.deltas.additive import apply_additive
from shared.compression.deltas.bits import digest_of, integer_of, xor_with_base
from shared.compression.deltas.manifest import (
    FORMAT,
    MANIFEST,
    STEM,
    VERSION,
    BaseTensor,
    Manifest,
    read_manifest,
)
from shared.compression.deltas.summary import Summary
from shared.errors import CheckpointDamaged, ChecksumMismatch, WrongBase
from shared.progress import Report, report_nothing


def apply_delta(
    base: Path,
    delta: Path,
    out: Path,
    report: Report = report_nothing,
    *,
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> Summary:
    """Write to the new folder `out` the model that `delta` makes of the one in `base`.

    A delta without delta.json is taken for an additive one, as FastChat's and LLMZoo's tools make
    them: see `additive`.

    Raises:
        WrongBase: `base` is not what the delta was made from.
        ChecksumMismatch, CheckpointDamaged, ModelNotThere, ModelNotSupported: one of them cannot
            be read, or is not what it was.
        CheckpointMismatch: an additive delta does not belong to the base.
        CheckpointExists, CheckpointNotWritten: `out` cannot be written.
    """
    if not (delta / MANIFEST).is_file():
        return apply_additive(base, delta, out, report, max_shard_bytes=max_shard_bytes)
    base_reader, delta_reader = CheckpointReader(base), CheckpointReader(delta, STEM)
    verify(delta, only=lambda name: not name.endswith(".safetensors"))
    manifest = read_manifest(delta)
    specs = _specs(manifest, delta_reader)
    _check_base(manifest, base_reader)
    digests = (delta / CHECKSUMS).read_text(encoding="utf-8")
    writer = CheckpointWriter(
        out,
        specs.values(),
        companions_of=delta,
        leave_out={MANIFEST},
        max_shard_bytes=max_shard_bytes,
        identity=identity_of(f"{FORMAT} {VERSION} apply {digests}", base_reader, delta_reader),
    )
    with writer:
        writer.write_pending(
            lambda name: (
                _restore(manifest.tied.get(name, name), manifest, base_reader, delta_reader),
                None,
            ),
            report,
        )
    return Summary(out, f"{FORMAT} {VERSION}", len(specs), writer.total_bytes)


def _specs(manifest: Manifest, delta: CheckpointReader) -> dict[str, TensorSpec]:
    """Return every tensor of the target, the delta's files checked against its own account."""
    if set(delta.names) != set(manifest.tensors):
        name = min(set(delta.names) ^ set(manifest.tensors))
        raise CheckpointDamaged(
            "is in one of delta.json and the shards only", file=delta.folder, tensor=name
        )
    specs: dict[str, TensorSpec] = {}
    for info in delta:
        dtype = manifest.tensors[info.name].dtype
        if info.dtype != integer_of(dtype):
            raise CheckpointDamaged(
                f"is {info.dtype} and stands for {dtype}", file=info.file, tensor=info.name
            )
        specs[info.name] = TensorSpec(info.name, info.shape, dtype)
    for head, embedding in manifest.tied.items():
        if embedding not in specs:
            raise CheckpointDamaged("is missing", file=delta.folder, tensor=embedding)
        specs[head] = TensorSpec(head, specs[embedding].shape, specs[embedding].dtype)
    return specs


def _check_base(manifest: Manifest, base: CheckpointReader) -> None:
    """Raise WrongBase for a tensor that is missing or has another shape or dtype."""
    for tensor in manifest.tensors.values():
        needed = tensor.base
        if needed is None:
            continue
        if needed.name not in base:
            raise WrongBase("the base lacks this tensor", file=base.folder, tensor=needed.name)
        info = base.info(needed.name)
        if (info.shape, info.dtype) != (needed.shape, needed.dtype):
            raise WrongBase(
                f"is {info.dtype} {list(info.shape)}, the delta was made from "
                f"{needed.dtype} {list(needed.shape)}",
                file=info.file,
                tensor=info.name,
            )


def _restore(
    name: str, manifest: Manifest, base_reader: CheckpointReader, delta_reader: CheckpointReader
) -> torch.Tensor:
    """Return a tensor of the target."""
    entry = manifest.tensors[name]
    tensor = delta_reader.tensor(name).view(entry.dtype)
    if entry.base is not None:
        xor_with_base(tensor, _base_tensor(entry.base, base_reader))
    if digest_of(tensor) != entry.sha256:
        file = delta_reader.info(name).file
        raise ChecksumMismatch(f"{file} ({name}): the delta's content is not what was written")
    return tensor


def _base_tensor(needed: BaseTensor, base_reader: CheckpointReader) -> torch.Tensor:
    base = base_reader.tensor(needed.name)
    if digest_of(base) != needed.sha256:
        raise WrongBase(
            "has other values than in the model that the delta was made from",
            file=base_reader.info(needed.name).file,
            tensor=needed.name,
        )
    return base
