"""A zoo under test: `llmzoo up` as a subprocess, its output, its processes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Self
from urllib.error import HTTPError
from urllib.request import urlopen

import orjson
import psutil

BIN = Path(sys.executable).parent
LLMZOO = str(BIN / "llmzoo")
START_SECONDS = 120
STOP_SECONDS = 60


class Zoo:
    """Starts `llmzoo up` with state of its own, so that it meets no zoo of the user's."""

    def __init__(self, folder: Path, *arguments: str, **environment: str) -> None:
        """Prepare; `arguments` and `environment` go to `llmzoo up`."""
        self.folder = folder
        self.offset = free_offset()
        self.environment = {
            **os.environ,
            "LLMZOO_STATE_DIR": str(folder / "state"),
            "LLMZOO_LOG_DIR": str(folder / "conversations"),
            "LLMZOO_CALL_STORE_DIR": str(folder / "calls"),
            "LLMZOO_BASE_URL": f"http://127.0.0.1:{8000 + self.offset}",
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            **environment,
        }
        self.command = [LLMZOO, "up", "--port-offset", str(self.offset), *arguments]
        self.output: list[str] = []
        self.process: subprocess.Popen[str]

    def __enter__(self) -> Self:
        """Start it; ready is another matter."""
        self.process = subprocess.Popen(
            self.command,
            env=self.environment,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it, whatever state it is in."""
        if self.process.poll() is None:
            self.stop(signal.SIGTERM)
        assert self.process.stdout is not None
        self._reader.join(timeout=5)
        self.process.stdout.close()

    @property
    def api(self) -> str:
        """The controller's base URL."""
        return f"http://127.0.0.1:{8000 + self.offset}"

    @property
    def webui(self) -> str:
        """The web UI's base URL."""
        return f"http://127.0.0.1:{7860 + self.offset}"

    @property
    def evaluator(self) -> str:
        """The evaluator's base URL."""
        return f"http://127.0.0.1:{8001 + self.offset}"

    @property
    def worker(self) -> str:
        """The worker's base URL; a restart moves it to another port."""
        (listed,) = orjson.loads(get(f"{self.api}/admin/workers")[1])["data"]
        return str(listed["address"])

    @property
    def text(self) -> str:
        """All that it has printed."""
        return "".join(self.output)

    def logged(self, service: str) -> list[dict[str, Any]]:
        """Return what a service has logged, line by line."""
        told = [line[line.index("{") :] for line in tuple(self.output) if '"service":' in line]
        lines: list[dict[str, Any]] = [orjson.loads(each) for each in told]
        return [line for line in lines if line["service"] == service]

    def line(self, start: str) -> str:
        """Return the announced line that begins with `start`, without it."""
        found = [line for line in self.output if line.startswith(start)]
        assert found, f"no line {start!r} in:\n{self.text}"
        return found[-1].removeprefix(start).strip()

    def wait_until_ready(self) -> None:
        """Wait for the announcement's last line."""
        self.wait_for(lambda: any(line.startswith("Stop:") for line in self.output), START_SECONDS)

    def wait_for(self, condition: object, seconds: float) -> None:
        """Wait until `condition()` holds; a zoo that ended meanwhile fails at once."""
        assert callable(condition)
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, f"llmzoo up ended:\n{self.text}"
            assert time.monotonic() < deadline, f"waited {seconds} s:\n{self.text[-6000:]}"
            time.sleep(0.05)

    def stop(self, number: signal.Signals) -> int:
        """Send a signal, wait, and return the exit code."""
        self.process.send_signal(number)
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            for child in self.children():
                with suppress(psutil.NoSuchProcess):
                    child.kill()
            self.process.kill()
            raise AssertionError(f"did not stop:\n{self.text[-6000:]}") from None

    def children(self) -> list[psutil.Process]:
        """Return every process it has started."""
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def child(self, service: str) -> psutil.Process:
        """Return the process of one service."""
        found = [p for p in self.children() if f"services.{service}" in " ".join(p.cmdline())]
        assert len(found) == 1, [p.cmdline() for p in self.children()]
        return found[0]

    def run(self, *arguments: str, input: str | None = None) -> subprocess.CompletedProcess[str]:  # noqa: A002
        """Run a command as a user with this zoo's address in the environment would."""
        return subprocess.run(
            arguments,
            env=self.environment,
            input=input,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output.append(line)


def get(url: str) -> tuple[int, bytes]:
    """Return status and body of a GET."""
    try:
        with urlopen(url, timeout=30) as response:
            return response.status, response.read()
    except HTTPError as fault:
        with fault:
            return fault.code, fault.read()


def get_json(url: str) -> dict[str, object]:
    """Return the JSON object at `url`."""
    parsed: dict[str, object] = orjson.loads(get(url)[1])
    return parsed


def free_offset() -> int:
    """Return a port offset at which all four services find their ports free."""
    for offset in range(1000, 20000, 100):
        sockets = [socket.socket() for _ in range(4)]
        try:
            for sock, port in zip(sockets, (8000, 8001, 7860, 8010), strict=True):
                sock.bind(("127.0.0.1", port + offset))
        except OSError:
            continue
        finally:
            for sock in sockets:
                sock.close()
        return offset
    raise AssertionError("no free ports")
