"""The folder of long answers: one compressed file a call, named by its slot and its content.

Owns the files: written whole or not at all, readable by their owner alone, checked against the
SHA-256 in their name before anything is unpacked. A file that is missing (or lies on another
host, where controllers do not share the folder) or damaged is no answer. Knows no Redis; files
work in threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import math
import os
import re
import secrets
import time
import zlib
from dataclasses import dataclass
from pathlib import Path

_STORE_ID = re.compile(r"[0-9a-f]{32}")
_SHARD = re.compile(r"[0-9a-f]{2}")
_NAME = re.compile(r"[0-9a-f]{64}\.[0-9a-f]{64}")
_TEMPORARY = re.compile(r"\.new-[0-9a-f]{16}")
_LEVEL = 6


class BlobLost(Exception):
    """The blob cannot be had: missing, damaged, or its name is none."""


class BlobNotWritten(Exception):
    """The disk is full or refuses; nothing is left of the attempt."""


@dataclass(frozen=True, slots=True)
class Blob:
    """A written blob; `digest` is the SHA-256 of its `size` compressed bytes."""

    digest: str
    size: int


NO_BLOB = Blob("", 0)
"""Of an answer that needs none."""


class BlobFolder:
    """The blobs of all stores that use a folder, each store's below its id."""

    def __init__(self, folder: Path) -> None:
        """Use `folder`, made when something is written."""
        self.folder = folder

    async def write(self, store_id: str, slot: str, body: bytes) -> Blob:
        """Write the body of the call in `slot`. Raises BlobNotWritten."""
        return await asyncio.to_thread(self._write, store_id, slot, body)

    async def read(self, store_id: str, name: str, size: int) -> bytes:
        """Return the `size` bytes that were written under `name`. Raises BlobLost."""
        return await asyncio.to_thread(self._read, store_id, name, size)

    async def remove(self, store_id: str, names: list[str]) -> None:
        """Remove what is there of these; another host's files are its own sweep's business."""
        if names:
            await asyncio.to_thread(self._remove, store_id, names)

    async def shards(self) -> list[Path]:
        """Return the folders that hold blobs, of all stores; their parents carry the stores' ids."""

        def found() -> list[Path]:
            return [
                shard
                for store in _matching(self.folder, _STORE_ID)
                for shard in _matching(store, _SHARD)
            ]

        return await asyncio.to_thread(found)

    async def older(self, shard: Path, seconds: float) -> list[Path]:
        """Return the blobs, whole or begun, that were written more than `seconds` ago."""

        def found() -> list[Path]:
            # A file's time is of the wall clock.
            latest = time.time() - seconds  # noqa: TID251
            files = (*_matching(shard, _NAME), *_matching(shard, _TEMPORARY))
            return [file for file in files if _written_at(file) < latest]

        return await asyncio.to_thread(found)

    async def discard(self, files: list[Path]) -> None:
        """Remove files that `older` has found."""

        def remove() -> None:
            for file in files:
                with contextlib.suppress(OSError):
                    file.unlink()

        if files:
            await asyncio.to_thread(remove)

    def _path(self, store_id: str, name: str) -> Path:
        # Both may come out of Redis: they must not lead out of the folder.
        if not _STORE_ID.fullmatch(store_id) or not _NAME.fullmatch(name):
            msg = "the record names no blob"
            raise BlobLost(msg)
        return self.folder / store_id / name[:2] / name

    def _write(self, store_id: str, slot: str, body: bytes) -> Blob:
        packed = zlib.compress(body, _LEVEL)
        digest = hashlib.sha256(packed).hexdigest()
        try:
            path = self._path(store_id, name_of(slot, digest))
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write_whole(path, packed)
        except (OSError, BlobLost) as fault:
            raise BlobNotWritten(str(fault)) from fault
        return Blob(digest, len(packed))

    def _read(self, store_id: str, name: str, size: int) -> bytes:
        try:
            packed = self._path(store_id, name).read_bytes()
        except OSError as fault:
            raise BlobLost(str(fault)) from fault
        if hashlib.sha256(packed).hexdigest() != name.partition(".")[2]:
            msg = "the blob is not what was written"
            raise BlobLost(msg)
        try:
            # One byte more would show that the record and its blob do not belong together.
            body = zlib.decompressobj().decompress(packed, size + 1)
        except zlib.error as fault:
            raise BlobLost(str(fault)) from fault
        if len(body) != size:
            msg = "the blob is not of the record's size"
            raise BlobLost(msg)
        return body

    def _remove(self, store_id: str, names: list[str]) -> None:
        for name in names:
            with contextlib.suppress(OSError, BlobLost):
                self._path(store_id, name).unlink()


def name_of(slot: str, digest: str) -> str:
    """Return the name of a blob."""
    return f"{slot}.{digest}"


def _write_whole(path: Path, content: bytes) -> None:
    temporary = path.parent / f".new-{secrets.token_hex(8)}"
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as f:
            f.write(content)
            f.flush()
            os.fsync(f.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _matching(folder: Path, name: re.Pattern[str]) -> list[Path]:
    # Nothing of another name is ours, wherever an operator lets this folder be.
    try:
        return [entry for entry in folder.iterdir() if name.fullmatch(entry.name)]
    except OSError:
        return []


def _written_at(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:  # removed meanwhile
        return math.inf
