"""A controller on a socket that is handed down, as systemd does it: LISTEN_FDS, LISTEN_PID, 3."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress

import httpx
import pytest

from services.cli.up.process import tied_to_this_process
from shared.http.listening import listening_socket
from tests.fakes.command_line import clean_environment
from tests.fakes.waiting import block_until

COMMAND = [sys.executable, "-m", "services.controller"]
# As systemd leaves it to the program: descriptor 3, and the pid of the process that begins.
AS_SYSTEMD = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); "
    "os.environ |= {'LISTEN_FDS': sys.argv[2], 'LISTEN_PID': str(os.getpid())}; "
    "os.execv(sys.argv[3], sys.argv[3:])"
)


@pytest.fixture
def sock() -> Iterator[socket.socket]:
    with listening_socket("127.0.0.1", 0) as made:
        yield made


def start(sock: socket.socket, command: list[str], **settings: object) -> subprocess.Popen[str]:
    told = {"controller_port": sock.getsockname()[1], **settings}
    variables = {f"LLMZOO_{name.upper()}": str(value) for name, value in told.items()}
    return subprocess.Popen(
        command,
        env=clean_environment(LLMZOO_REDIS_URL="unix:///nonexistent/redis.sock", **variables),
        pass_fds=[sock.fileno()],
        stderr=subprocess.PIPE,
        text=True,
    )


def as_systemd(sock: socket.socket, count: int = 1) -> list[str]:
    return [sys.executable, "-c", AS_SYSTEMD, str(sock.fileno()), str(count), *COMMAND]


def pid_that_answers(sock: socket.socket) -> int:
    url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    return httpx.get(f"{url}/health/ready", timeout=20, trust_env=False).json()["pid"]


def test_two_processes_serve_one_socket_and_either_may_go(sock: socket.socket) -> None:
    tied = tied_to_this_process(COMMAND, signal.SIGKILL, sock)
    first, second = start(sock, as_systemd(sock)), start(sock, tied)
    try:
        # It was begun by whoever has the socket: asked before anybody served it, nobody is refused.
        seen = {pid_that_answers(sock)}
        block_until(lambda: seen.add(pid_that_answers(sock)) or len(seen) == 2, seconds=30)
        assert seen == {first.pid, second.pid}
        first.terminate()
        assert first.wait(20) == 0
        assert {pid_that_answers(sock) for _ in range(5)} == {second.pid}
    finally:
        for process in (first, second):
            with suppress(ProcessLookupError):
                process.kill()
            process.communicate()


@pytest.mark.parametrize(
    ("settings", "count", "message"),
    [
        # Whether a key is asked for follows from the host in the settings.
        ({"controller_host": "127.0.0.2"}, 1, "is not a listening one on 127.0.0.2:"),
        ({"controller_port": 1}, 1, "is not a listening one on 127.0.0.1:1,"),
        ({"controller_host": "0.0.0.0"}, 1, "is not a listening one on 0.0.0.0:"),
        ({}, 2, "LISTEN_FDS=2: one listening socket is expected"),
    ],
)
def test_another_socket_than_the_settings_name_is_refused(
    sock: socket.socket, settings: dict[str, object], count: int, message: str
) -> None:
    process = start(sock, as_systemd(sock, count), **settings)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 2
    assert message in told


def test_what_was_handed_to_the_parent_is_none_of_ours() -> None:
    told = [sys.executable, "-c", "from shared.settings import *; print(inherited_descriptors())"]
    environment = clean_environment(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
    answer = subprocess.run(told, env=environment, capture_output=True, text=True, check=True)
    assert answer.stdout == "0\n"
