"""The folder `.<name>.partial` beside a target: one attempt, which a later one may take up.

Its file `.journal.jsonl` says what the attempt is (first line) and which files are done, each with
its digest and notes. The kernel's lock on the folder tells a running attempt from a dead one, so a
kill needs no cleaning up. Owns that folder. Knows nothing of tensors.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from shared.compression.checkpoint.checksums import sha256_of
from shared.compression.checkpoint.exchange import exchange
from shared.errors import CheckpointExists

_JOURNAL = ".journal.jsonl"

Note = dict[str, str]


@dataclass(frozen=True, slots=True)
class DoneFile:
    """A file that is whole and on the disk; `notes` are its writer's own, by tensor."""

    sha256: str
    notes: dict[str, Note]


class PartialFolder:
    """One attempt at `target`. Methods raise OSError where the disk fails."""

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(f".{target.name}.partial")
        self._target = target
        self._lock = -1

    def open(self, identity: str) -> dict[str, DoneFile]:
        """Return the files that an earlier attempt of the same identity has finished, by name.

        Everything else that it left is removed, as is an attempt of another identity or of none.

        Raises:
            CheckpointExists: another process is at it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        self._take_lock()
        done = self._read_journal(identity) if identity else {}
        for path in self.path.iterdir():
            if path.name not in done and path.name != _JOURNAL:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        self._begin_journal(identity, done)
        return done

    def add(self, name: str, done: DoneFile) -> None:
        """Note that a file, already on the disk, is done."""
        with (self.path / _JOURNAL).open("ab") as journal:
            journal.write(_line(name, done))
            journal.flush()
            os.fsync(journal.fileno())

    def publish(self, *, overwrite: bool) -> None:
        """Give the folder the target's name; what had it before takes this one's.

        Raises:
            CheckpointExists: the target is there, and is not to be replaced.
        """
        (self.path / _JOURNAL).unlink()
        sync_folder(self.path)
        if overwrite and self._target.exists():
            exchange(self.path, self._target)
        else:
            try:
                self.path.rename(self._target)
            except OSError as fault:
                if fault.errno in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}:
                    raise CheckpointExists("is there already", file=self._target) from fault
                raise
        sync_folder(self._target.parent)

    def close(self, *, discard: bool) -> None:
        """Give up the lock, and with `discard` remove what is left under the partial name."""
        if self._lock < 0:
            return
        if discard:
            shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)
        self._lock = -1

    def _take_lock(self) -> None:
        self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Another one may have published it between the two lines above.
            mine = self.path.exists() and os.path.samestat(os.fstat(self._lock), self.path.stat())
        except BlockingIOError:
            mine = False
        if not mine:
            os.close(self._lock)
            self._lock = -1
            raise CheckpointExists("another process is writing it", file=self._target)

    def _read_journal(self, identity: str) -> dict[str, DoneFile]:
        journal = self.path / _JOURNAL
        if not journal.is_file():
            return {}
        entries = [entry for line in journal.read_bytes().splitlines() if (entry := _entry(line))]
        if not entries or entries[0].get("identity") != identity:
            return {}
        done = {e["file"]: DoneFile(e["sha256"], e["notes"]) for e in entries[1:]}
        return {name: file for name, file in done.items() if self._is_whole(name, file)}

    def _is_whole(self, name: str, done: DoneFile) -> bool:
        file = self.path / name
        return file.is_file() and sha256_of(file) == done.sha256

    def _begin_journal(self, identity: str, done: dict[str, DoneFile]) -> None:
        """Write it anew: a kill may have cut its last line short, and nothing must follow that."""
        new = self.path / f"{_JOURNAL}.new"
        lines = [_line(name, file) for name, file in done.items()]
        new.write_bytes(orjson.dumps({"identity": identity}) + b"\n" + b"".join(lines))
        settle(new)
        new.replace(self.path / _JOURNAL)


def settle(file: Path) -> str:
    """Bring a file to the disk and return its SHA-256; raises OSError."""
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
    return sha256_of(file)


def sync_folder(folder: Path) -> None:
    """Bring a folder's list of names to the disk; raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _line(name: str, done: DoneFile) -> bytes:
    return orjson.dumps({"file": name, "sha256": done.sha256, "notes": done.notes}) + b"\n"


def _entry(line: bytes) -> dict[str, Any]:
    """Return a line of the journal, empty for one that a kill has cut short."""
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return {}
