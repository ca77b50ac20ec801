"""A safetensors folder, written tensor by tensor, that appears whole or not at all.

Everything goes to `.<name>.partial` beside the target: the shards, whose headers follow from the
shapes that are known beforehand, so that no more than one tensor is ever in memory; the index as
transformers writes it; what travels with the model; checksums.json. One rename is the end. After a
kill the next writer with the same identity keeps the shards that are whole. Owns that order of
things. Knows neither models nor what the tensors mean.
"""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import threading
from collections.abc import Callable, Container, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import orjson
import torch

from shared.compression.checkpoint.checksums import CHECKSUMS, format_checksums
from shared.compression.checkpoint.partial import DoneFile, Note, PartialFolder, settle
from shared.compression.checkpoint.shards import (
    ShardFile,
    ShardPlan,
    as_not_written,
    plan_shards,
)
from shared.compression.checkpoint.tensors import TensorSpec
from shared.errors import CheckpointExists, CheckpointNotWritten
from shared.model_folder import MODEL, companions, index_name
from shared.progress import Report

# What a kill can cost, and what is hashed while nothing else is left to do.
MAX_SHARD_BYTES = 500_000_000
_FORMAT = {"format": "pt"}  # without it transformers refuses the file


class CheckpointWriter:
    """A context: leaving it without an exception publishes the folder, with one removes it.

    An exception that is no Exception, such as KeyboardInterrupt, is taken like a kill.
    """

    def __init__(
        self,
        target: Path,
        specs: Iterable[TensorSpec],
        *,
        companions_of: Path | None = None,
        leave_out: Container[str] = (),
        stem: str = MODEL,
        max_shard_bytes: int = MAX_SHARD_BYTES,
        metadata: Mapping[str, str] = _FORMAT,
        identity: str = "",
        overwrite: bool = False,
    ) -> None:
        """Plan the files; nothing is touched before the context is entered.

        Args:
            target: the folder to appear.
            specs: every tensor that will be written, in the order in which shards are filled.
            companions_of: a folder whose config, tokenizer and the like are copied.
            leave_out: names among them that are not.
            stem: begins the shards' names.
            max_shard_bytes: of a shard's data; a larger tensor has a shard of its own.
            metadata: of every shard's header.
            identity: all that decides the tensors' values; what an attempt with the same one left
                behind is taken up. Empty: nothing is ever taken up.
            overwrite: replace an existing target.
        """
        self._target = target.absolute()
        self._shards = plan_shards(specs, stem, max_shard_bytes, metadata)
        self._shard_of = {name: shard for shard in self._shards for name in shard.specs}
        self._stem = stem
        self._companions_of = companions_of
        self._leave_out = leave_out
        self._overwrite = overwrite
        self._identity = identity and _plan_identity(identity, self._shards)
        self._partial = PartialFolder(self._target)
        self._open: dict[str, ShardFile] = {}
        self._done: dict[str, DoneFile] = {}
        self._notes: dict[str, Note] = {}
        self._written: set[str] = set()
        self._files: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        """Begin, or take up what an earlier attempt left.

        Raises:
            CheckpointExists: the target is there, or another process is writing it.
            CheckpointNotWritten: the disk refuses or has not enough room.
        """
        if not self._overwrite and os.path.lexists(self._target):
            raise CheckpointExists("is there already", file=self._target)
        if os.path.lexists(self._target) and not self._target.is_dir():
            raise CheckpointExists("is no folder, and is not replaced", file=self._target)
        try:
            with as_not_written(self._target):
                self._done = self._partial.open(self._identity)
            self._check_room()
        except CheckpointNotWritten:
            self._partial.close(discard=not self._done)
            raise
        for name, done in self._done.items():
            plan = next(shard for shard in self._shards if shard.name == name)
            self._written.update(plan.specs)
            self._notes |= done.notes
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Publish the folder, or leave nothing; raises as `write`, and ValueError if one lacks."""
        keep = kind is not None and not issubclass(kind, Exception) and bool(self._identity)
        try:
            if kind is None:
                self._finish()
        finally:
            for shard in self._open.values():
                shard.close()
            self._partial.close(discard=not keep)

    @property
    def total_bytes(self) -> int:
        """Return the size of all planned tensors' data."""
        return sum(spec.nbytes for shard in self._shards for spec in shard.specs.values())

    @property
    def pending(self) -> list[str]:
        """Return the tensors that are not written yet, in the order in which shards are filled."""
        return [name for name in self._shard_of if name not in self._written]

    @property
    def notes(self) -> Mapping[str, Note]:
        """Return what was noted of each tensor, also by an attempt that was taken up."""
        return self._notes

    def write(self, name: str, tensor: torch.Tensor, note: Note | None = None) -> None:
        """Write a planned tensor, from any thread.

        Any order will do, that of `pending` keeps few files open.

        Args:
            name: as planned.
            tensor: of the planned shape and dtype, on any device.
            note: kept over a kill, for `notes`.

        Raises:
            CheckpointNotWritten: the disk is full or refuses.
            ValueError: another shape or dtype than was planned, or written before.
        """
        plan = self._shard_of[name]
        with self._lock:
            if plan.name not in self._open:
                self._open[plan.name] = ShardFile(self._partial.path, plan)
            shard = self._open[plan.name]
        shard.write(name, tensor)
        with self._lock:
            self._written.add(name)
            if note is not None:
                self._notes[name] = note
            if not shard.complete or self._open.pop(plan.name, None) is None:
                return
        digest = shard.finish()
        with self._lock, as_not_written(self._partial.path / plan.name):
            notes = {one: self._notes[one] for one in plan.specs if one in self._notes}
            self._done[plan.name] = DoneFile(digest, notes)
            self._partial.add(plan.name, self._done[plan.name])

    def write_pending(
        self, make: Callable[[str], tuple[torch.Tensor, Note | None]], report: Report
    ) -> None:
        """Write every tensor that is not written yet, as `make` gives it with its note.

        Args:
            make: returns the tensor of a name.
            report: called with bytes written and bytes in all; raises as `write`.
        """
        specs = {name: spec for shard in self._shards for name, spec in shard.specs.items()}
        pending, total = self.pending, self.total_bytes
        done = total - sum(specs[name].nbytes for name in pending)
        report(done, total)
        for name in pending:
            self.write(name, *make(name))
            done += specs[name].nbytes
            report(done, total)

    def add_file(self, name: str, content: bytes) -> None:
        """Put a small file into the folder; it stands in for a companion of that name."""
        self._files[name] = content

    def _finish(self) -> None:
        if self.pending:
            raise ValueError(f"never written: {', '.join(self.pending[:3])}")
        if len(self._shards) > 1:
            self.add_file(index_name(self._stem), self._index())
        digests = {name: done.sha256 for name, done in self._done.items()}
        for name in self._copy_companions():
            digests[name] = self._settle(name)
        for name, content in self._files.items():
            with as_not_written(self._target / name):
                (self._partial.path / name).write_bytes(content)
            digests[name] = self._settle(name)
        with as_not_written(self._target / CHECKSUMS):
            (self._partial.path / CHECKSUMS).write_bytes(format_checksums(digests))
        self._settle(CHECKSUMS)
        with as_not_written(self._target):
            self._partial.publish(overwrite=self._overwrite)

    def _copy_companions(self) -> list[str]:
        if self._companions_of is None:
            return []
        names = [path.as_posix() for path in companions(self._companions_of)]
        written = {*self._files, CHECKSUMS}
        copied = [name for name in names if name not in written and name not in self._leave_out]
        for name in copied:
            target = self._partial.path / name
            with as_not_written(self._target / name):
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(self._companions_of / name, target)
        return copied

    def _settle(self, name: str) -> str:
        """Bring a file to the disk and return its SHA-256."""
        with as_not_written(self._target / name):
            return settle(self._partial.path / name)

    def _index(self) -> bytes:
        specs = [spec for shard in self._shards for spec in shard.specs.values()]
        content = {
            "metadata": {
                "total_parameters": sum(math.prod(spec.shape) for spec in specs),
                "total_size": self.total_bytes,
            },
            "weight_map": {name: shard.name for name, shard in self._shard_of.items()},
        }
        return orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n"

    def _check_room(self) -> None:
        """Refuse at once what could only fail after long work."""
        with as_not_written(self._target):
            free = shutil.disk_usage(self._partial.path).free
        needed = sum(shard.size for shard in self._shards if shard.name not in self._done)
        if needed > free:
            raise CheckpointNotWritten(
                f"needs {needed:,} bytes, the disk has {free:,} left", file=self._target
            )


def _plan_identity(identity: str, shards: list[ShardPlan]) -> str:
    digest = hashlib.sha256(identity.encode())
    for shard in shards:
        digest.update(shard.header)
    return digest.hexdigest()
