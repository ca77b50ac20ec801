"""`llmzoo up` over fake services in a process of its own, and the watching of it.

Run as a script it is the supervisor: one argument, the JSON of what `ZooProcess` was given.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from queue import Empty, Queue
from typing import TYPE_CHECKING

import psutil

from services.cli.up import UpOptions, run_up
from services.cli.up.plan import Role
from services.cli.up.restarts import RestartPolicy
from shared.settings import ZooSettings, load
from tests.fakes.command_line import PROJECT, clean_environment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FAKE_SERVICE = Path(__file__).with_name("service_process.py")
PATIENCE_SECONDS = 30.0
# Gives the command a terminal of its own, and our pipe as its keyboard.
IN_A_TERMINAL = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"


class ZooProcess:
    """A supervisor under test; `logs` and `announced` are the lines it wrote so far.

    `modules` are run instead of fake services.
    """

    def __init__(
        self,
        state_dir: Path,
        ports: Mapping[str, int],
        *,
        manners: Mapping[str, Sequence[str]] | None = None,
        redis: Sequence[str] | None = None,
        environment: Mapping[str, str] | None = None,
        terminal: bool = False,
        roomy: bool = True,
        modules: Mapping[str, str] | None = None,
        **options: object,
    ) -> None:
        told = {
            "manners": manners or {},
            "redis": redis,
            "options": options,
            "roomy": roomy,
            "modules": modules or {},
        }
        variables = {f"LLMZOO_{role.upper()}_PORT": str(port) for role, port in ports.items()}
        variables["LLMZOO_STATE_DIR"] = str(state_dir)
        command = [sys.executable, __file__, json.dumps(told)]
        if terminal:
            command = [sys.executable, "-c", IN_A_TERMINAL, *command]
        self.process = subprocess.Popen(
            command,
            cwd=PROJECT,
            env=clean_environment(**{**variables, **(environment or {})}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.logs: list[str] = []
        self.announced: list[str] = []
        self._fresh: Queue[str] = Queue()
        self._readers = [
            threading.Thread(target=self._read, args=(self.process.stderr, self.logs)),
            threading.Thread(target=self._read, args=(self.process.stdout, self.announced)),
        ]
        for reader in self._readers:
            reader.start()

    def until(self, pattern: str) -> re.Match[str]:
        """Wait for the next line, of either stream, in which `pattern` is found."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                line = self._fresh.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                raise AssertionError("\n".join([f"never came: {pattern}", *self.logs])) from None
            if found := re.search(pattern, line):
                return found

    def until_ready(self) -> None:
        self.until(r"^Stop: ")

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def type(self, keys: str) -> None:
        """Press keys in the terminal."""
        assert self.process.stdin is not None
        self.process.stdin.write(keys)
        self.process.stdin.flush()

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> int:
        """Wait for the supervisor's own end and return its exit code."""
        exit_code = self.process.wait(PATIENCE_SECONDS)
        for reader in self._readers:
            reader.join(PATIENCE_SECONDS)
        return exit_code

    def close(self) -> None:
        """Leave nothing behind, whatever the test did."""
        if self.process.poll() is None:
            orphans = self.children()
            self.process.kill()
            for orphan in orphans:
                # Most end with the supervisor, by themselves.
                with suppress(psutil.NoSuchProcess):
                    orphan.kill()
        self.end()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    def _read(self, stream, lines: list[str]) -> None:
        for line in stream:
            lines.append(line.rstrip("\n"))
            self._fresh.put(lines[-1])


def main(told: dict) -> int:
    commands = {
        role: (sys.executable, str(FAKE_SERVICE), role.value, *told["manners"].get(role, []))
        for role in Role
    }
    for role, module in told["modules"].items():
        commands[Role(role)] = (sys.executable, "-m", module)
    return run_up(
        load(ZooSettings),
        UpOptions(**told["options"]),
        commands=commands,
        redis_binaries=None if told["redis"] is None else [Path(path) for path in told["redis"]],
        policy=RestartPolicy(first_delay=0.05),
        has_room=lambda _pid: told["roomy"],
    )


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
