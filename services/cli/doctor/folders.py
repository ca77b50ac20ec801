"""Folders that services write to: whether they can, and what the disk has left.

Owns what a file system tells. Leaves nothing behind.
"""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path
from tempfile import TemporaryFile

from services.cli.doctor.check import Check, Status, fail, ok, warn

_GB = 1e9
_LITTLE_DISK_GB = 5.0
_NO_DISK_GB = 0.5
_WRITES_INTO = os.W_OK | os.X_OK


def folder(
    name: str, path: Path, variable: str, *, service: str = "", models: bool = False
) -> Check:
    """Find whether `path` can be written, and the space there.

    Args:
        name: of the finding.
        path: it need not exist yet.
        variable: the setting that names it.
        service: of the container that this is, if it is one of ours.
        models: models are put there, which are large.
    """
    try:
        there = next(parent for parent in (path, *path.parents) if _exists(parent))
        facts = os.statvfs(there)
        writable = there.is_dir() and os.access(there, _WRITES_INTO)
    except OSError as fault:
        return fail(name, f"{path} cannot be looked at: {fault.strerror}", f"set {variable}")
    if not there.is_dir():
        return fail(name, f"{path} cannot be made, {there} is no folder", f"set {variable}")
    if not writable:
        return _unwritable(name, path, there, variable, service)
    found = _space(name, path, facts, variable, models=models)
    if found.status is not Status.FAIL and (fault := _write_fault(there)):
        return fail(name, f"{path} cannot be written: {fault}", f"set {variable}")
    return found


def _space(
    name: str, path: Path, facts: os.statvfs_result, variable: str, *, models: bool
) -> Check:
    if not facts.f_blocks:  # some network file systems do not tell
        return ok(name, str(path))
    free = facts.f_bavail * facts.f_frsize / _GB
    fix = f"free some space (`df -h`), or set {variable}"
    text = f"{path}, {free:.1f} GB free"
    if facts.f_files and not facts.f_favail:
        fix = f"delete small files on that disk (`df -i`), or set {variable}"
        return fail(name, f"{path}: its disk has no room for another file (inodes)", fix)
    if free < _NO_DISK_GB:
        return fail(name, f"{text}: the disk is full", fix)
    if models and free < _LITTLE_DISK_GB:
        return warn(name, f"{text}: a model may not fit", fix)
    return ok(name, text)


def _write_fault(folder: Path) -> str:
    """Return why nothing can be written there: a quota, a flag of the file system; empty: it can."""
    try:
        with TemporaryFile(dir=folder) as file:  # without a name, where the file system has that
            file.write(b"\0")
    except OSError as fault:
        return fault.strerror or str(fault)
    return ""


def _exists(path: Path) -> bool:
    """Return whether it is there, also where that may not be known further down."""
    try:
        return path.exists()
    except PermissionError:
        return False


def _unwritable(name: str, path: Path, there: Path, variable: str, service: str) -> Check:
    if os.statvfs(there).f_flag & os.ST_RDONLY:
        fix = f"mount a volume there that can be written, or set {variable}"
        return fail(name, f"{path} lies on a file system that is mounted read-only", fix)
    facts = there.stat()
    told = (
        f"{path} cannot be written: {there} belongs to {_user(facts.st_uid)} with mode "
        f"{stat.S_IMODE(facts.st_mode):04o}, and this is {_user(os.getuid())}"
    )
    owner = f"{os.getuid()}:{os.getgid()}"
    if not service:
        return fail(name, told, f"sudo chown -R {owner} {there}, or set {variable}")
    # The image's own folder has the right owner; a volume made by another image may not.
    fix = (
        "on the host: docker compose run --rm --no-deps --user 0 --cap-add CHOWN "
        f"--cap-add DAC_OVERRIDE {service} chown -R {owner} {there}"
    )
    return fail(name, told, fix)


def _user(uid: int) -> str:
    try:
        return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:
        return f"uid {uid}"
