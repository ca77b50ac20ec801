"""The key for one endpoint, in a file of its own that may be changed while we run.

Owns when the file is read. The key is in no log and no error.
"""

from __future__ import annotations

from pathlib import Path

import structlog

log = structlog.get_logger(__name__)

_MAX_BYTES = 8192


class KeyFileFault(Exception):
    """No key can be read; the text says why."""


class KeyFile:
    """Reads the key again whenever its file has changed."""

    def __init__(self, path: Path) -> None:
        """Read the key.

        Raises:
            KeyFileFault: there is none.
        """
        self._path = path
        # Before the key, so that a change in between is noticed at the next call.
        self._stamp = _stamp(path)
        self._key = _read(path)

    def key(self) -> str:
        """Return the key as the file has it now; the last one while it has none."""
        stamp = _stamp(self._path)
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._key = _read(self._path)
            except KeyFileFault as fault:
                log.warning("an endpoint's last key stays", file=str(self._path), why=str(fault))
        return self._key


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Return what differs when a file was written again; None for none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_BYTES + 1)
    except OSError as fault:
        raise KeyFileFault(fault.strerror or str(fault)) from None
    key = raw.strip()
    visible = all(0x21 <= byte <= 0x7E for byte in key)  # noqa: PLR2004 - ASCII's "!" to "~"
    if not key or not visible or len(raw) > _MAX_BYTES:
        msg = "it is not one line with a key"
        raise KeyFileFault(msg)
    return key.decode("ascii")
