"""One zoo per state folder and port offset: an flock on a file that says who holds it.

Owns the file and its content. The kernel drops the lock with the process that holds it, so a file
left by a `kill -9` means nothing. The file stays: removing a locked file lets two hold it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shared.errors import AlreadyRunning

if TYPE_CHECKING:
    from collections.abc import Generator

OWNER_ONLY = 0o600


@dataclass(frozen=True, slots=True)
class RunningZoo:
    """What the lock file tells about the supervisor that holds it."""

    pid: int
    urls: dict[str, str]
    started_at: str

    @classmethod
    def parse(cls, text: str) -> RunningZoo | None:
        """Read what `UpLock.write` wrote; None while the holder has not written it yet."""
        try:
            found: dict[str, Any] = json.loads(text)
            return cls(int(found["pid"]), dict(found["urls"]), str(found["started_at"]))
        except (ValueError, KeyError, TypeError):
            return None


class UpLock:
    """The lock of one port offset in one state folder."""

    def __init__(self, state_dir: Path, port_offset: int) -> None:
        """Name the file; nothing is opened yet."""
        self.path = state_dir / f"up-{port_offset}.lock"
        self.control = state_dir / f"up-{port_offset}.sock"
        """Where the holder takes orders."""
        self.stop_command = "llmzoo down"
        if port_offset:
            self.stop_command += f" --port-offset {port_offset}"
        self._descriptor: int | None = None

    @contextlib.contextmanager
    def hold(self) -> Generator[None]:
        """Take the lock for a `with` block.

        Raises:
            AlreadyRunning: another process has it; the message says which, and how to stop it.
        """
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, OWNER_ONLY)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise AlreadyRunning(self._who_holds_it()) from None
            self._descriptor = descriptor
            try:
                self._replace("")
                yield
            finally:
                self._replace("")
                self._descriptor = None
        finally:
            os.close(descriptor)

    def is_free(self) -> bool:
        """Return whether no process has the lock."""
        try:
            with self.hold():
                return True
        except AlreadyRunning:
            return False

    def write(self, running: RunningZoo) -> None:
        """Say who holds the lock; only inside `hold`."""
        self._replace(json.dumps(asdict(running)))

    def read(self) -> RunningZoo | None:
        """Return what the holder says of itself."""
        try:
            return RunningZoo.parse(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None

    def _replace(self, text: str) -> None:
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, text.encode(), 0)

    def _who_holds_it(self) -> str:
        stop = f"Stop it with `{self.stop_command}`, or choose another --port-offset"
        running = self.read()
        if running is None:
            return f"a zoo is just starting here. {stop}"
        places = "".join(f"\n  {name}: {url}" for name, url in running.urls.items())
        return (
            f"a zoo runs already: process {running.pid}, since {running.started_at}{places}\n{stop}"
        )
