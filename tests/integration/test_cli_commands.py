"""The other commands of `llmzoo` as processes."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys

import orjson
import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from tests.fakes.command_line import LLMZOO, clean_environment
from tests.fakes.controller_app import FakeController, ServedApp
from tests.fakes.fleet import service
from tests.fakes.terminal_process import CTRL_C, TerminalProcess

HELP_SECONDS = 0.3
HEAVY = ("torch", "gradio", "fastapi", "httpx", "pydantic", "rich", "prompt_toolkit", "asyncio")
HEAVY_OF_EVAL = ("numpy", "httpx", "yaml", "rich", "asyncio", "services.evaluator")

STATS = {
    "services": [service(load={"running": 1, "waiting": 0, "tokens_per_second": 12.3})],
    "queue": {"interactive": 3, "batch": 0},
    "refused": [{"id": "worker-far", "reason": "its address is a public host name"}],
    "registry": {"reachable": False, "staleness_seconds": 9.0},
}


def llmzoo(*arguments, **variables):
    return subprocess.run(
        [*LLMZOO, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        env=clean_environment(**variables),
        timeout=120,
    )


@pytest.fixture
def controller():
    return FakeController(
        models=[
            {"id": "demo", "state": "ready", "max_model_len": 2048},
            {"id": "soon", "state": "downloading", "progress": 0.43, "max_model_len": 0},
        ]
    )


@pytest.fixture
def url(controller):
    async def stats(_):
        return JSONResponse(STATS)

    app = Starlette(routes=[Route("/v1/stats", stats), Mount("/", controller.app)])
    with ServedApp(app) as served:
        yield served.url


@pytest.fixture
def other_url(controller):
    """A server with OpenAI's API and nothing of ours."""
    with ServedApp(controller.app) as served:
        yield served.url


def test_models_are_a_table(url):
    done = llmzoo("models", "--base-url", url)
    assert done.stdout.decode().splitlines() == [
        "MODEL  STATE             CONTEXT  WORKERS",
        "demo   ready             2048     1",
        "soon   downloading 43 %  -        0",
    ]
    rows = orjson.loads(llmzoo("models", "--json", "--base-url", url).stdout)
    assert rows[0] == {
        "id": "demo",
        "state": "ready",
        "progress": None,
        "context": 2048,
        "workers": 1,
    }


def test_models_of_another_server_are_listed_too(other_url, controller):
    controller.models = [{"id": "gpt"}]
    lines = llmzoo("models", LLMZOO_BASE_URL=other_url).stdout.decode().splitlines()
    assert lines[1].split() == ["gpt", "-", "-", "-"]


def test_workers_are_a_table_with_the_refused_ones(url):
    done = llmzoo("workers", "--base-url", url)
    assert done.returncode == 0
    head, worker, refused = done.stdout.decode().splitlines()
    assert head.split()[:3] == ["SERVICE", "STATE", "ADDRESS"]
    assert worker.split() == [
        "worker-host-8010",
        "ready",
        "http://127.0.0.1:8010",
        "demo",
        "1",
        "0",
        "12",
        "1",
        "closed",
    ]
    assert refused.split(maxsplit=6)[:2] == ["worker-far", "refused"]
    assert refused.endswith("its address is a public host name")
    assert b"cannot reach Redis" in done.stderr
    assert orjson.loads(llmzoo("workers", "--json", "--base-url", url).stdout) == STATS


def test_top_prints_once(url):
    done = llmzoo("top", "--once", "--base-url", url)
    assert done.returncode == 0
    totals, empty, head, worker = done.stdout.decode().splitlines()
    assert "3 interactive" in totals
    assert empty == ""
    assert head.split()[:3] == ["WORKER", "STATE", "MODELS"]
    assert worker.split()[:6] == ["worker-host-8010", "ready", "demo", "1", "0", "1"]
    assert orjson.loads(llmzoo("top", "--once", "--json", "--base-url", url).stdout) == STATS


@pytest.mark.parametrize("how", [[], ["--json"]], ids=["table", "json"])
def test_top_looks_again_until_it_is_interrupted(url, how):
    command = [*LLMZOO, "top", "--interval", "0.1", "--base-url", url, *how]
    environment = clean_environment(COLUMNS="200")
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        seen = b""
        while seen.count(b"worker-host-8010") < 2:
            piece = process.stdout.read1()
            assert piece, seen
            seen += piece
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait(10) == 0


def test_top_is_a_live_table_on_a_terminal(url):
    command = [*LLMZOO, "top", "--interval", "0.1", "--base-url", url]
    with TerminalProcess(command, clean_environment(COLUMNS="160")) as terminal:
        for _ in range(3):
            terminal.expect("of 1 workers ready")
            terminal.expect("worker-host-8010")
        terminal.press(CTRL_C)
        assert terminal.ends() == 0


def test_workers_of_another_server_are_not_known(other_url):
    done = llmzoo("workers", "--base-url", other_url)
    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("command", ["models", "workers", "top"])
def test_no_server_is_exit_code_3(command):
    done = llmzoo(command, "--base-url", "http://127.0.0.1:9")
    assert done.returncode == 3
    assert b"llmzoo up" in done.stderr


def test_an_unknown_model_cannot_be_added():
    done = llmzoo("models", "add", "no such model")
    assert done.returncode == 1
    assert b"no such model" in done.stderr


@pytest.mark.torch
def test_doctor_looks_at_this_machine(tmp_path, url):
    variables = {"LLMZOO_STATE_DIR": str(tmp_path), "LLMZOO_CACHE_DIR": str(tmp_path)}
    done = llmzoo("doctor", "--json", LLMZOO_BASE_URL=url, **variables)
    told = orjson.loads(done.stdout)
    found = {check["name"]: check for check in told["checks"]}
    assert found["Python"]["status"] == "ok"
    assert found["torch"]["status"] == "ok"
    assert "demo" in found["controller"]["found"]
    assert found["model"]["status"] == "warn"
    assert told["ok"] == all(check["status"] != "fail" for check in told["checks"])
    assert done.returncode == (0 if told["ok"] else 1)
    assert all(check["fix"] for check in told["checks"] if check["status"] != "ok")


def test_doctor_tells_a_wrong_variable_once(tmp_path):
    done = llmzoo("doctor", LLMZOO_STATE_DIR=str(tmp_path), LLMZOO_WEBUI_PORT="99999")
    assert done.returncode == 1
    assert done.stdout.count(b"settings: LLMZOO_WEBUI_PORT") == 1


@pytest.mark.parametrize("group", [[], ["eval"]], ids=["all", "eval"])
def test_help_answers_at_once(group):
    def seconds():
        # Processor time: on a busy machine other programs' would count in the wall clock's.
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [*LLMZOO, *group, "--help"], check=True, capture_output=True, env=clean_environment()
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime

    assert min(seconds() for _ in range(5)) < HELP_SECONDS


@pytest.mark.parametrize(
    ("arguments", "runs", "heavy"),
    [
        (["--help"], "typer", HEAVY),
        (["eval", "--help"], "services.cli.eval.starting", HEAVY_OF_EVAL),
    ],
    ids=["all", "eval"],
)
def test_help_imports_nothing_heavy(arguments, runs, heavy):
    code = (
        "import sys, contextlib\n"
        "from services.cli.main import main\n"
        f"sys.argv = {['llmzoo', *arguments]}\n"
        "with contextlib.suppress(SystemExit): main()\n"
        "print(*sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, env=clean_environment(), check=True
    )
    loaded = done.stderr.decode().split()
    assert runs in loaded
    assert [name for name in heavy if name in loaded] == []


def test_the_shell_completes_commands():
    done = llmzoo(_LLMZOO_COMPLETE="complete_bash", COMP_WORDS="llmzoo d", COMP_CWORD="1")
    assert set(done.stdout.split()) == {b"delta", b"doctor", b"down", b"drain"}
