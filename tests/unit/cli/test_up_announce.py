from __future__ import annotations

import io
import json
import shlex
import subprocess
import sys

from services.cli.up.announce import ServedModel, announcement, curl_line
from services.cli.up.console import Console
from services.cli.up.plan import Role, ServicePlan
from services.cli.up.probes import Readiness, read

PLANS = [
    ServicePlan("worker", Role.WORKER, (), 8010),
    ServicePlan("controller", Role.CONTROLLER, (), 8000),
    ServicePlan("evaluator", Role.EVALUATOR, (), 8001),
    ServicePlan("webui", Role.WEBUI, (), 7860),
]


def test_five_lines_for_the_whole_zoo() -> None:
    lines = announcement(PLANS, ServedModel("demo"))
    assert [line.split()[0] for line in lines] == ["Chat:", "API:", "Metrics:", "Try:", "Stop:"]
    assert lines[1] == "API:     http://127.0.0.1:8000/v1"
    assert lines[2] == "Metrics: http://127.0.0.1:8000/metrics"


def test_a_worker_alone_is_an_api_of_its_own() -> None:
    lines = announcement(PLANS[:1], ServedModel("demo"))
    assert [line.split()[0] for line in lines] == ["API:", "Metrics:", "Try:", "Stop:"]
    assert lines[0] == "API:     http://127.0.0.1:8010/v1"


def test_without_an_api_nothing_is_there_to_try() -> None:
    lines = announcement(PLANS[2:], ServedModel("demo"))
    assert [line.split()[0] for line in lines] == ["Chat:", "Metrics:", "Stop:"]
    assert lines[1] == "Metrics: http://127.0.0.1:8001/metrics"


def test_the_line_to_try_is_valid_shell_and_valid_json() -> None:
    words = shlex.split(curl_line(PLANS[1], ServedModel("it's mine")))
    assert words[:2] == ["curl", "http://127.0.0.1:8000/v1/chat/completions"]
    assert "Content-Type: application/json" in words
    assert json.loads(words[words.index("-d") + 1]) == {
        "model": "it's mine",
        "messages": [{"role": "user", "content": "What is the capital of France?"}],
        "max_tokens": 50,
        "temperature": 0,
    }


def test_a_key_is_sent_where_one_is_asked_for() -> None:
    assert "Authorization: Bearer $LLMZOO_API_KEY" in shlex.split(
        curl_line(PLANS[1], ServedModel("demo", needs_key=True))
    )


def test_readiness_in_words() -> None:
    loading = read(503, b'{"state": "loading", "progress": 0.434}')
    assert loading == Readiness(ready=False, detail="loading 43%")
    failed = read(503, b'{"state": "failed", "detail": "no such model"}')
    assert failed.detail == "failed: no such model"
    assert read(200, b'{"state": "ready", "pid": 7}') == Readiness(True, "ready", 7)
    for nonsense in (b"", b"<html>", b"[]", b'"x"', b'{"pid": "7"}'):
        assert read(503, nonsense) == Readiness(ready=False)


def test_lines_carry_their_service_and_no_colour_where_nobody_sees_it() -> None:
    log, out = io.StringIO(), io.StringIO()
    console = Console(log, out)
    console.relay("worker", "\x1b[31mred\x1b[0m [bold]not markup[/bold] " + "x" * 300)
    console.say("two\nlines")
    console.announce(["Chat: here"])
    assert log.getvalue().splitlines() == [
        "worker     | red [bold]not markup[/bold] " + "x" * 300,
        "zoo        | two",
        "zoo        | lines",
    ]
    assert out.getvalue() == "Chat: here\n"


def test_the_supervisor_is_light() -> None:
    heavy = "{'torch', 'gradio', 'fastapi', 'uvicorn', 'redis', 'httpx', 'transformers'}"
    code = f"import sys, services.cli.up; print({heavy} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"
