"""Tensors on their way into files: which goes where, and one file while it is written.

Owns the layout. Knows neither folders nor what is kept after a kill.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch

from shared.compression.checkpoint.checksums import sha256_of
from shared.compression.checkpoint.header import format_header
from shared.compression.checkpoint.tensors import TensorSpec, buffer_of
from shared.errors import CheckpointNotWritten
from shared.model_folder import shard_names


class ShardPlan:
    """One file to be written: its name, its header, and each tensor's place in it."""

    def __init__(self, name: str, specs: Iterable[TensorSpec], metadata: Mapping[str, str]) -> None:
        # Wide dtypes first, as the library has it: no tensor then lies across its own alignment.
        ordered = sorted(specs, key=lambda spec: -spec.dtype.itemsize)
        self.name = name
        self.header = format_header(ordered, metadata)
        self.specs = {spec.name: spec for spec in ordered}
        self.starts: dict[str, int] = {}
        self.size = len(self.header)
        for spec in ordered:
            self.starts[spec.name] = self.size
            self.size += spec.nbytes


def plan_shards(
    specs: Iterable[TensorSpec], stem: str, max_bytes: int, metadata: Mapping[str, str]
) -> list[ShardPlan]:
    """Return the files, each of at most `max_bytes` of data or of one larger tensor."""
    groups: list[list[TensorSpec]] = [[]]
    filled = 0
    for spec in specs:
        if groups[-1] and filled + spec.nbytes > max_bytes:
            groups.append([])
            filled = 0
        groups[-1].append(spec)
        filled += spec.nbytes
    names = shard_names(stem, len(groups))
    return [ShardPlan(name, group, metadata) for name, group in zip(names, groups, strict=True)]


class ShardFile:
    """A file that is being written; its tensors may come in any order."""

    def __init__(self, folder: Path, plan: ShardPlan) -> None:
        """Begin the file.

        Raises:
            CheckpointNotWritten: the disk is full or refuses.
        """
        self.plan = plan
        self._file = folder / plan.name
        self._pending = set(plan.specs)
        with as_not_written(self._file):
            self._descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            self._write(memoryview(plan.header), 0)

    @property
    def complete(self) -> bool:
        """Return whether every tensor is in it."""
        return not self._pending

    def write(self, name: str, tensor: torch.Tensor) -> None:
        """Put a tensor in its place.

        Raises:
            CheckpointNotWritten: the disk is full or refuses.
            ValueError: it has another shape or dtype than was planned, or is there already.
        """
        spec = self.plan.specs[name]
        if name not in self._pending or (tuple(tensor.shape), tensor.dtype) != (
            spec.shape,
            spec.dtype,
        ):
            raise ValueError(f"{name} is {tensor.dtype} {tuple(tensor.shape)}, planned was {spec}")
        with as_not_written(self._file, name):
            self._write(buffer_of(tensor.cpu().contiguous()), self.plan.starts[name])
        self._pending.remove(name)

    def finish(self) -> str:
        """Return the SHA-256 of the file, which is on the disk to the last byte.

        Raises:
            CheckpointNotWritten: the disk is full or refuses.
        """
        with as_not_written(self._file):
            os.fsync(self._descriptor)
            self.close()
            return sha256_of(self._file)

    def close(self) -> None:
        """Let go of the file; may be called twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _write(self, buffer: memoryview, position: int) -> None:
        while buffer:
            written = os.pwrite(self._descriptor, buffer, position)
            buffer, position = buffer[written:], position + written


@contextmanager
def as_not_written(file: Path, tensor: str | None = None) -> Generator[None]:
    """Raise CheckpointNotWritten, naming the place, for a failure of the disk."""
    try:
        yield
    except OSError as fault:
        reason = f"cannot be written: {fault.strerror}"
        raise CheckpointNotWritten(reason, file=file, tensor=tensor) from fault
