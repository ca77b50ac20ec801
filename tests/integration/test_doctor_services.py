"""What `llmzoo doctor` finds of ports and of the controller, over real sockets."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from email.utils import formatdate
from time import time

import orjson
import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from services.cli.doctor.check import Status
from services.cli.doctor.controller import controller as look
from services.cli.doctor.port_holder import holder
from services.cli.doctor.service_ports import published_port, service_port
from shared.settings import ClientSettings, load
from tests.fakes import programs
from tests.fakes.command_line import LLMZOO, clean_environment
from tests.fakes.controller_app import FakeController, ServedApp
from tests.fakes.fleet import service
from tests.fakes.worker_app import FakeWorker, answer

HOLD = """
import socket
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
input()
"""


@pytest.fixture
def taken():
    """A process that holds a port and answers nothing, and the port."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process, int(process.stdout.readline())
        process.kill()


@pytest.fixture
def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        found = probe.getsockname()[1]
    return int(found)


def test_a_free_port_is_well(free_port):
    assert holder(free_port) is None
    found = service_port("controller", free_port)
    assert (found.status, found.found) == (Status.OK, "free for the controller")


def test_a_port_that_is_taken_is_told_with_the_process_that_has_it(taken):
    process, port = taken
    found = service_port("controller", port)
    assert found.status is Status.FAIL
    assert f"used by python (pid {process.pid})" in found.found.replace("python3", "python")
    assert "LLMZOO_CONTROLLER_PORT" in found.fix
    assert service_port("worker", port).status is Status.OK


def test_a_holder_that_cannot_be_seen_is_not_made_up(taken, tmp_path):
    _, port = taken
    assert holder(port, tmp_path) is None


@pytest.fixture
def our_controller():
    async def version(_):
        return JSONResponse({"service": "controller"})

    with ServedApp(Starlette(routes=[Route("/version", version)])) as served:
        yield int(served.url.rpartition(":")[2])


def test_a_port_of_ours_is_well_where_it_is_that_services(our_controller):
    found = service_port("controller", our_controller)
    assert (found.status, found.found) == (Status.OK, "our controller listens")
    other = service_port("webui", our_controller)
    assert other.status is Status.FAIL
    assert "used by our controller" in other.found


def test_a_port_of_another_http_server_is_not_ours():
    with ServedApp(FakeController().app) as served:
        port = int(served.url.rpartition(":")[2])
        found = service_port("controller", port)
    assert found.status is Status.FAIL
    assert f"(pid {os.getpid()})" in found.found


def test_a_port_that_compose_publishes_may_be_taken_by_its_own_container(
    taken, tmp_path, monkeypatch, free_port
):
    process, port = taken
    monkeypatch.setenv("PATH", str(tmp_path))
    assert published_port("GRAFANA_PORT", free_port).status is Status.OK
    other = published_port("GRAFANA_PORT", port)
    assert other.status is Status.WARN
    assert f"(pid {process.pid})" in other.found
    assert "GRAFANA_PORT=" in other.fix
    programs.program(tmp_path / "docker", f'[ "$3" = publish={port} ] && echo llmzoo-grafana-1')
    ours = published_port("GRAFANA_PORT", port)
    assert (ours.status, ours.found) == (Status.OK, "published by llmzoo-grafana-1")


def found(url, *, service="", in_container=False, key="", given=True):
    """Return the findings; `given`: the address was set by the user."""
    settings = load(ClientSettings, api_key=key, **({"base_url": url} if given else {}))
    checks = list(look(settings, service=service, in_container=in_container))
    assert all(check.fix for check in checks if check.status is not Status.OK)
    return checks


def only(checks, name):
    (check,) = [check for check in checks if check.name == name]
    return check


STATS = {"services": [service()], "refused": [], "registry": {"reachable": True}}


class Fleet:
    """A controller that tells these statistics, and the time that it is sent."""

    def __init__(self, *, date="", models=("demo",), **changes):
        async def stats(_):
            return JSONResponse({**STATS, **changes})

        controller = FakeController(models=[{"id": name} for name in models])
        app = Starlette(routes=[Route("/v1/stats", stats), Mount("/", controller.app)])
        self._served = ServedApp(app, date=date)

    def __enter__(self):
        return self._served.__enter__().url

    def __exit__(self, *fault):
        self._served.__exit__(*fault)


def test_a_fleet_that_is_well_is_told():
    with Fleet() as url:
        checks = found(url)
    assert {check.status for check in checks} == {Status.OK}
    assert only(checks, "controller").found == f"{url} serves demo"
    assert only(checks, "workers").found == "1 of 1 ready"
    assert only(checks, "clock").found == "as that of the controller"


@pytest.mark.parametrize(
    ("ahead", "says"), [(90, "seconds ahead of"), (-90, "seconds behind"), (1, "as that")]
)
def test_a_controllers_clock_that_goes_wrong_warns(ahead, says):
    with Fleet(date=formatdate(time() + ahead, usegmt=True)) as url:
        clock = only(found(url), "clock")
    assert says in clock.found
    assert (clock.status is Status.WARN) == (abs(ahead) > 2)


@pytest.mark.parametrize(
    ("services", "models", "status", "says"),
    [
        ([], (), Status.FAIL, "there is no worker"),
        (
            [service(state="loading", progress=0.5, detail="weights")],
            (),
            Status.WARN,
            "worker-host-8010 is loading 50 % (weights)",
        ),
        ([service(stale=True)], (), Status.WARN, "worker-host-8010 is lost"),
        ([service(), service(state="loading")], ("demo",), Status.OK, "1 of 2 ready"),
    ],
)
def test_without_a_ready_worker_it_is_told_why(services, models, status, says):
    with Fleet(services=services, models=models) as url:
        workers = only(found(url), "workers")
    assert workers.status is status
    assert says in workers.found


def test_a_gateway_to_other_servers_needs_no_worker():
    with Fleet(services=[], models=["hosted/big"]) as url:
        assert "workers" not in [check.name for check in found(url)]


def test_refused_services_and_a_lost_registry_fail():
    refused = [{"id": "worker-far", "reason": "its address 'http://a.b' is a public host name"}]
    with Fleet(refused=refused, registry={"reachable": False}) as url:
        fails = [check for check in found(url) if check.status is Status.FAIL]
    assert [check.name for check in fails] == ["registry", "workers"]
    assert "worker-far is refused" in fails[1].found
    assert "LLMZOO_ADVERTISE" in fails[1].fix


def test_a_controller_that_asks_for_a_key_says_so():
    async def refuse(_):
        return JSONResponse({"error": {"message": "no such key"}}, 401)

    with ServedApp(Starlette(routes=[Route("/v1/models", refuse)])) as served:
        without = only(found(served.url), "controller")
        wrong = only(found(served.url, key="hidden"), "controller")
        inside = only(found(served.url, service="controller", in_container=True), "controller")
    assert (without.status, without.fix) == (Status.WARN, "set LLMZOO_API_KEY")
    assert wrong.status is Status.FAIL
    assert "does not take LLMZOO_API_KEY: no such key" in wrong.found
    assert "hidden" not in wrong.found
    assert inside.status is Status.OK


def test_what_is_no_such_server_fails():
    async def page(_):
        return JSONResponse(["hello"])

    with ServedApp(Starlette(routes=[Route("/{path:path}", page)])) as served:
        check = only(found(served.url), "controller")
    assert check.status is Status.FAIL
    assert "no OpenAI-compatible server" in check.found


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://127.0.0.1", "http://[::1"])
def test_what_is_no_url_fails(url):
    check = only(found(url), "controller")
    assert check.status is Status.FAIL
    assert "give a base URL" in check.fix


def test_a_controller_that_is_not_there_fails_where_its_address_was_set(free_port):
    url = f"http://127.0.0.1:{free_port}"
    check = only(found(url), "controller")
    assert check.status is Status.FAIL
    assert f"nothing answers at {url}" in check.found


def test_a_controller_that_hangs_is_told_in_time(taken):
    check = only(found(f"http://127.0.0.1:{taken[1]}"), "controller")
    assert check.status is Status.FAIL
    assert "nothing answers" in check.found


def test_a_name_that_exists_inside_compose_only_is_told():
    check = only(found("http://controller.invalid:8000"), "controller")
    assert check.status is Status.FAIL
    assert "inside compose only" in check.fix


@pytest.mark.parametrize("service", ["webui", "evaluator"])
def test_a_loopback_address_inside_a_container_is_told(free_port, service):
    url = f"http://localhost:{free_port}"
    check = only(found(url, service=service, in_container=True), "controller")
    assert check.status is Status.FAIL
    assert "the container itself" in check.found
    assert check.fix == "LLMZOO_BASE_URL=http://controller:8000"
    worker = only(found(url, service="worker", in_container=True), "controller")
    assert worker.status is Status.OK


@pytest.mark.parametrize(("bypass", "warned"), [("", True), ("127.0.0.1", False), ("*", False)])
def test_a_proxy_before_the_controller_warns(monkeypatch, bypass, warned):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    if bypass:
        monkeypatch.setenv("no_proxy", bypass)
    with Fleet() as url:
        checks = found(url)
    assert only(checks, "controller").status is Status.OK  # asked without the proxy
    proxy = [check for check in checks if check.name == "proxy"]
    assert [check.status for check in proxy] == ([Status.WARN] if warned else [])


@pytest.mark.redis
@pytest.mark.usefixtures("redis_server")
async def test_a_real_controller_is_seen_with_its_clock_and_fleet(announce, controller):
    worker = FakeWorker(answer("fine"))
    await announce(worker)
    await controller.sees("worker-1")
    checks = await asyncio.to_thread(found, controller.url)
    assert {check.status for check in checks} == {Status.OK}
    assert {check.name for check in checks} == {"controller", "clock", "workers"}


@pytest.fixture
def surroundings(tmp_path):
    """What a run of the command meets, none of it the user's own."""
    (tmp_path / "bin").mkdir()
    return {
        "PATH": str(tmp_path / "bin"),
        "LLMZOO_STATE_DIR": str(tmp_path / "state"),
        "LLMZOO_CACHE_DIR": str(tmp_path / "cache"),
    }


def doctor(tmp_path, surroundings, *options):
    return subprocess.run(
        [*LLMZOO, "doctor", *options],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        env=clean_environment(**surroundings),
        timeout=60,
    )


def test_all_that_hangs_is_left_behind_in_time(tmp_path, surroundings, taken, redis_server):
    redis_server.freeze()
    for name in ("docker", "nvidia-smi"):
        programs.program(tmp_path / "bin" / name, "kill -STOP $$")
    _, port = taken
    done = doctor(
        tmp_path,
        {
            **surroundings,
            "LLMZOO_REDIS_URL": redis_server.url,
            "LLMZOO_BASE_URL": f"http://127.0.0.1:{port}",
            "LLMZOO_CONTROLLER_PORT": str(port),
        },
        "--json",
    )
    told = orjson.loads(done.stdout)
    checks = {check["name"]: check for check in told["checks"]}
    assert done.returncode == 1
    assert told["ok"] is False
    assert "nothing answers" in checks["Redis"]["found"]
    assert checks["GPU"]["status"] == "fail"
    assert "nothing answers" in checks["controller"]["found"]
    assert checks["Docker"]["status"] == "warn"
    assert not done.stderr


def test_a_host_with_a_gpu_and_no_toolkit_is_told_all(tmp_path, surroundings):
    programs.nvidia_smi(tmp_path / "bin")
    programs.docker(tmp_path / "bin", compose="2.20.3")
    (tmp_path / "docker-compose.yml").write_text("name: llmzoo\nservices:\n  a:\n    gpus: all\n")
    (tmp_path / ".env").write_text("COMPOSE_PROFILES=gpu\nWORDS ONLY\n")
    text = doctor(tmp_path, surroundings).stdout.decode()
    for line in (
        "fail  GPU toolkit: there are GPUs and their driver, and no NVIDIA container toolkit",
        "        sudo apt-get update && sudo apt-get install -y nvidia-container-toolkit",
        "fail  Compose: 2.20.3 does not know `gpus:`",
        "fail  .env: line 2 is no NAME=value",
        "warn  CUDA: torch ",
    ):
        assert line in text, text


def test_a_wrong_variable_is_told_once(tmp_path, surroundings):
    done = doctor(tmp_path, {**surroundings, "LLMZOO_WEBUI_PORT": "99999"}, "--json")
    checks = orjson.loads(done.stdout)["checks"]
    settings = [check for check in checks if check["name"] == "settings"]
    assert len(settings) == 1
    assert "LLMZOO_WEBUI_PORT" in settings[0]["found"]
    assert done.returncode == 1


def test_neither_torch_nor_gradio_is_imported(tmp_path, surroundings):
    code = (
        "import sys\nfrom services.cli.doctor.command import run\nrun(as_json=True)\n"
        "print(sorted({'torch', 'gradio', 'transformers', 'safetensors'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        check=True,
        env=clean_environment(**surroundings),
        timeout=60,
    )
    assert done.stdout.decode().splitlines()[-1] == "[]"
