"""`checksums.json`: the SHA-256 of every other file of a folder that we wrote.

    {"sha256": {"config.json": "<64 hex digits>", "model.safetensors": "...", ...}}

Names are relative to the folder, with `/`. Owns that file. Knows nothing of what the files hold.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import orjson

from shared.errors import CheckpointDamaged, ChecksumMismatch
from shared.model_folder import read_json

CHECKSUMS = "checksums.json"


def sha256_of(file: Path) -> str:
    """Return the SHA-256 of a file's content, in hex; raises OSError."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def format_checksums(digests: Mapping[str, str]) -> bytes:
    """Return the content of checksums.json."""
    return orjson.dumps({"sha256": digests}, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)


def read_checksums(folder: Path) -> dict[str, str]:
    """Return the digest of each file that checksums.json lists.

    Raises:
        CheckpointDamaged: there is none, or it is malformed.
    """
    content: Any = read_json(folder / CHECKSUMS).get("sha256")
    if not isinstance(content, dict):
        raise CheckpointDamaged("has no digests under `sha256`", file=folder / CHECKSUMS)
    return {name: str(digest) for name, digest in cast("dict[str, Any]", content).items()}


def verify(folder: Path, *, only: Callable[[str], bool] = lambda _: True) -> list[str]:
    """Return the names of the files that were compared with checksums.json, all found right.

    Args:
        folder: what CheckpointWriter wrote.
        only: which of the listed files to read; all by default.

    Raises:
        ChecksumMismatch: a file's content is not what was written; the message names it.
        CheckpointDamaged: a listed file is missing or unreadable, or there is no checksums.json.
    """
    checked = {name: digest for name, digest in read_checksums(folder).items() if only(name)}
    for name, digest in checked.items():
        file = folder / name
        try:
            found = sha256_of(file)
        except OSError as fault:
            raise CheckpointDamaged(f"cannot be read: {fault.strerror}", file=file) from fault
        if found != digest:
            raise ChecksumMismatch(f"{file}: the content is not what was written (sha256 {found})")
    return list(checked)
