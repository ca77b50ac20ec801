"""`python -m services.cli.secrets DIR`: the secrets of a fleet, made where they are missing.

Owns which files there are and who may read them: their owner's group and nobody else. What was
drawn once stays; the files that follow from others are kept true to them.
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from shared.errors import ConfigurationError, LLMZooError

_FOLDER_MODE, _FILE_MODE = 0o750, 0o440


def _password() -> str:
    return secrets.token_hex(32)


def _api_key() -> str:
    return f"zoo-{secrets.token_urlsafe(32)}"


_DRAWN: dict[str, Callable[[], str]] = {
    "redis_password": _password,
    "internal_token": _password,
    "admin_key": _api_key,
    "webui_key": _api_key,
    "evaluator_key": _api_key,
    "metrics_key": _api_key,
    "grafana_password": _password,
}
_SCOPES = {
    "admin_key": "",  # none named: all
    "webui_key": "chat",
    "evaluator_key": "chat eval",
    "metrics_key": "metrics",
}


def write_missing(folder: Path, redis: str) -> list[str]:
    """Write what `folder` lacks and return the names of the files that were written.

    Args:
        folder: where they belong; made if it is not there.
        redis: host and port of the Redis-compatible server that the password is for.

    Raises:
        ConfigurationError: the folder cannot be written, or a file in it holds no secret.
    """
    try:
        folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        missing = [name for name in _DRAWN if not (folder / name).exists()]
        for name in missing:
            _write(folder / name, f"{_DRAWN[name]()}\n")
        derived = _derived({name: _read(folder / name) for name in _DRAWN}, redis)
        stale = [name for name, text in derived.items() if not _holds(folder / name, text)]
        for name in stale:
            _write(folder / name, derived[name])
    except OSError as fault:
        msg = f"{fault.filename or folder}: {fault.strerror}"
        raise ConfigurationError(msg) from fault
    return [*missing, *stale]


def _derived(drawn: dict[str, str], redis: str) -> dict[str, str]:
    """Return the text of each file that follows from the secrets."""
    password = drawn["redis_password"]
    keys = [f"{drawn[name]} {scopes}".rstrip() for name, scopes in _SCOPES.items()]
    return {
        "redis_url": f"redis://:{password}@{redis}/0\n",
        "redis.conf": f"requirepass {password}\n",
        "api_keys": "\n".join([*keys, ""]),
    }


def _read(file: Path) -> str:
    words = file.read_text(encoding="utf-8", errors="replace").split()
    if len(words) != 1:
        msg = f"{file} holds no secret: one line with one word is meant. Deleted, it is made anew"
        raise ConfigurationError(msg)
    return words[0]


def _holds(file: Path, text: str) -> bool:
    return file.exists() and file.read_bytes() == text.encode()


def _write(file: Path, text: str) -> None:
    """Put the file there as a whole, at no moment readable by others."""
    descriptor, draft = tempfile.mkstemp(dir=file.parent)  # mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
            opened.write(text)
            os.fchmod(descriptor, _FILE_MODE)
        Path(draft).replace(file)
    except OSError:
        Path(draft).unlink(missing_ok=True)
        raise


def main() -> int:
    """Write them; 2: they cannot be written."""
    parser = argparse.ArgumentParser(
        prog="python -m services.cli.secrets",
        description="Write the secrets of a fleet that are not there yet, and name them.",
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--redis", default="redis:6379", help="host and port of Redis")
    told = parser.parse_args()
    try:
        written = write_missing(told.folder, told.redis)
    except LLMZooError as fault:
        print(f"secrets: {fault.message}", file=sys.stderr)
        return 2
    print("\n".join(written) if written else "All secrets are there.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
