"""`llmzoo up --restart` on a zoo of fake services: real processes, sockets and signals."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Self

import psutil
import pytest

from services.cli.up import run_restart
from services.cli.up.lock import UpLock
from shared.settings import ZooSettings
from tests.fakes.command_line import LLMZOO, PROJECT, clean_environment
from tests.fakes.waiting import block_until
from tests.fakes.zoo_process import ZooProcess

pytestmark = pytest.mark.redis

ROLES = ("controller", "evaluator", "webui", "worker")


@pytest.fixture
def settings(tmp_path) -> ZooSettings:
    return ZooSettings(state_dir=tmp_path / "state")


@pytest.fixture
def zoo(settings, ports):
    """Return a function that starts a zoo."""
    begun: list[ZooProcess] = []

    def start(**how) -> ZooProcess:
        environment = {"LLMZOO_HEARTBEAT_INTERVAL": "0.1", **how.pop("environment", {})}
        begun.append(ZooProcess(settings.state_dir, ports, environment=environment, **how))
        return begun[-1]

    yield start
    for each in begun:
        each.close()


def ask(port: int, path: str = "/health/ready", *, post: bool = False) -> dict:
    url = f"http://127.0.0.1:{port}{path}"
    request = urllib.request.Request(url, method="POST" if post else "GET")
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def worker_port(settings: ZooSettings) -> int:
    running = UpLock(settings.state_dir, 0).read()
    return int(running.urls["worker"].rpartition(":")[2])


class Client(threading.Thread):
    """Asks again and again, on a new connection each time."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.pids: list[int] = []
        self.faults: list[Exception] = []
        self._port = port
        self._over = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        while not self._over.is_set():
            try:
                self.pids.append(ask(self._port)["pid"])
            except OSError as fault:
                self.faults.append(fault)


@pytest.mark.parametrize("role", ["controller", "evaluator", "webui"])
def test_a_service_whose_port_is_held_is_replaced_and_refuses_nobody(
    zoo, ports, settings, capsys, role
) -> None:
    running = zoo()
    running.until_ready()
    with Client(ports[role]) as client:
        block_until(lambda: len(client.pids) > 3)
        assert run_restart(settings, [role], 0) == 0
        seen = len(client.pids)
        block_until(lambda: len(client.pids) > seen + 3)
    assert client.faults == []
    old, new = client.pids[0], client.pids[-1]
    assert old != new
    assert not psutil.pid_exists(old)
    assert {*client.pids[seen + 1 :]} == {new}
    told = capsys.readouterr().err
    assert re.search(rf"{role}: a new one starts.*\n.*finishes.*\n.*{role}: restarted", told)


def test_a_worker_moves_to_another_port_before_the_old_one_goes(zoo, ports, settings) -> None:
    running = zoo()
    running.until_ready()
    old = ask(ports["worker"])["pid"]

    assert run_restart(settings, ["worker"], 0) == 0

    port = worker_port(settings)
    assert port != ports["worker"]
    assert ask(port)["pid"] != old
    assert not psutil.pid_exists(old)
    ready, stopped = (
        [i for i, line in enumerate(running.logs) if line == f"worker     | {words}"]
        for words in ("ready", "worker stops")
    )
    assert len(ready) == 2
    assert ready[1] < stopped[0]
    # The port that is free again is the next one's.
    assert run_restart(settings, ["worker"], 0) == 0
    assert worker_port(settings) == ports["worker"]


def test_a_worker_that_does_not_fit_beside_the_old_one_starts_after_it(
    zoo, ports, settings, capsys
) -> None:
    running = zoo(only=["worker"], roomy=False)
    running.until_ready()
    old = ask(ports["worker"])["pid"]
    assert run_restart(settings, ["worker"], 0) == 0
    assert "no memory for two" in capsys.readouterr().err
    assert worker_port(settings) == ports["worker"]
    assert ask(ports["worker"])["pid"] != old


def test_a_worker_that_would_wait_for_the_old_one_s_gpu_starts_after_it(
    zoo, ports, settings, tmp_path, capsys
) -> None:
    running = zoo(only=["worker"], manners={"worker": ["--lease", str(tmp_path / "lease")]})
    running.until_ready()
    old = ask(ports["worker"])["pid"]
    assert run_restart(settings, ["worker"], 0) == 0
    told = capsys.readouterr().err
    assert "a new one starts beside the old one" in told
    assert "no GPU for two" in told
    assert worker_port(settings) == ports["worker"]
    assert ask(ports["worker"])["pid"] != old
    assert len([child for child in running.children() if "worker" in child.cmdline()]) == 1


def test_a_zoo_is_up_though_a_worker_waits_for_another_one_s_gpu(zoo, tmp_path) -> None:
    running = zoo(only=["worker"], workers=2, manners={"worker": ["--lease", str(tmp_path / "l")]})
    running.until_ready()
    ready = [line for line in running.logs if re.match(r"worker-\d +\| ready", line)]
    assert len(ready) == 1


def test_all_are_restarted_one_after_the_other_from_the_command_line(zoo, settings) -> None:
    running = zoo(workers=2)
    running.until_ready()
    before = {child.pid for child in running.children() if "service_process" in child.cmdline()[1]}
    told = subprocess.run(
        [*LLMZOO, "up", "--restart", "worker-2,controller", "--restart", "all"],
        env=clean_environment(LLMZOO_STATE_DIR=str(settings.state_dir)),
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    done = re.findall(r"([\w-]+): restarted", told.stderr)
    assert done == ["worker-1", "worker-2", "controller", "evaluator", "webui"]
    assert len(before) == 5
    assert not any(psutil.pid_exists(pid) for pid in before)
    running.signal(signal.SIGINT)
    assert running.end() == 0
    assert not list(settings.state_dir.rglob("*.sock"))


def test_a_new_one_that_does_not_start_leaves_the_old_one(
    zoo, ports, settings, tmp_path, capsys
) -> None:
    manners = {"worker": ["--mark", str(tmp_path / "mark"), "--again", "exit"]}
    running = zoo(only=["worker", "controller"], manners=manners)
    running.until_ready()
    old = {role: ask(ports[role])["pid"] for role in ("worker", "controller")}
    assert run_restart(settings, ["worker", "controller"], 0) == 1
    told = capsys.readouterr().err
    assert "the new worker did not start, the old one goes on" in told
    assert "LLMZOO_MODEL names nothing" in told
    assert {role: ask(ports[role])["pid"] for role in old} == old
    assert worker_port(settings) == ports["worker"]


def test_only_one_restart_at_a_time_and_who_hangs_up_waits_no_more(
    zoo, ports, settings, tmp_path, capsys
) -> None:
    manners = {"worker": ["--mark", str(tmp_path / "mark"), "--again", "load"]}
    running = zoo(only=["worker", "controller"], manners=manners)
    running.until_ready()
    old = ask(ports["worker"])["pid"]
    children = {child.pid for child in running.children()}
    first = subprocess.Popen(
        [*LLMZOO, "up", "--restart", "all"],
        env=clean_environment(LLMZOO_STATE_DIR=str(settings.state_dir)),
        cwd=PROJECT,
        stderr=subprocess.PIPE,
    )
    running.until(r"worker +\| loading 43%")
    assert run_restart(settings, ["controller"], 0) == 1
    assert "another restart is under way" in capsys.readouterr().err

    first.send_signal(signal.SIGINT)
    assert first.wait(10) == 130
    first.stderr.close()
    block_until(lambda: {child.pid for child in running.children()} == children)
    assert ask(ports["worker"])["pid"] == old
    assert run_restart(settings, ["controller"], 0) == 0


def test_ctrl_c_in_the_middle_of_a_restart_ends_all(zoo, settings, tmp_path) -> None:
    manners = {"worker": ["--mark", str(tmp_path / "mark"), "--again", "load"]}
    running = zoo(manners=manners)
    running.until_ready()
    restart = threading.Thread(target=run_restart, args=(settings, ["worker"], 0))
    restart.start()
    running.until(r"worker +\| loading 43%")
    children = running.children()
    running.signal(signal.SIGINT)
    assert running.end() == 0, "\n".join(running.logs)
    restart.join(10)
    assert not restart.is_alive()
    assert psutil.wait_procs(children, timeout=10)[1] == []


def test_what_cannot_be_restarted_is_told(zoo, settings, capsys) -> None:
    assert run_restart(settings, ["worker"], 0) == 1
    assert "nothing is running here" in capsys.readouterr().err
    running = zoo(only=["worker"], manners={"worker": ["--loading"]})
    running.until(r"worker +\| loading 43%")
    assert run_restart(settings, ["worker"], 0) == 1
    assert "still starting" in capsys.readouterr().err
    ask(worker_port(settings), "/load", post=True)
    running.until_ready()
    assert run_restart(settings, ["judge", "worker"], 0) == 1
    told = capsys.readouterr().err
    assert "no service called judge runs here; there are all, worker" in told


def test_what_is_no_order_harms_nobody(zoo, settings) -> None:
    running = zoo(only=["worker"])
    running.until_ready()
    path = UpLock(settings.state_dir, 0).control
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    deep = b"[" * 60_000 + b"\n"
    for order in (b"", b"\n", b"no JSON\n", b"[]\n", b'{"stop": 1}\n', deep, b"[" * 70_000):
        assert b'"failed"' in converse(path, order)
    assert b'"failed"' in converse(path, b'{"restart": "worker"}\n')
    assert b'"failed"' in converse(path, b'{"restart": []}\n')
    assert run_restart(settings, ["worker"], 0) == 0


def converse(path: Path, order: bytes) -> bytes:
    folder = os.open(path.parent, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(f"/proc/self/fd/{folder}/{path.name}")
        os.close(folder)
        with suppress(BrokenPipeError):
            sock.sendall(order)
            sock.shutdown(socket.SHUT_WR)
        return sock.recv(1000)


def test_clients_of_a_crashed_service_wait_until_it_is_back(zoo, ports) -> None:
    running = zoo(only=["controller"])
    running.until_ready()
    old = ask(ports["controller"])["pid"]
    with pytest.raises(OSError, match=r"closed|reset"):
        ask(ports["controller"], "/crash", post=True)
    assert ask(ports["controller"])["pid"] != old


@pytest.mark.skipif(sys.platform != "linux", reason="names a socket by /proc")
def test_a_long_state_folder_is_no_obstacle(ports, tmp_path) -> None:
    settings = ZooSettings(state_dir=tmp_path / ("long" * 25))
    running = ZooProcess(settings.state_dir, ports, only=["controller"])
    try:
        running.until_ready()
        assert run_restart(settings, ["controller"], 0) == 0
    finally:
        running.close()
