"""What a user does with the stack: asks in a browser, asks by curl, evaluates."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import orjson
import pytest
from playwright.sync_api import sync_playwright

from tests.compose.conftest import QUESTION
from tests.compose.stack import PROJECT
from tests.fakes.browser import CHROMIUM, FLAGS, ask_for_paris

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from tests.compose.stack import Stack


def test_readmes_curl_with_the_key_that_the_controller_shows(stack: Stack) -> None:
    blocks = re.findall(r"```bash\n(.*?)```", (PROJECT / "README.md").read_text(), re.DOTALL)
    (line,) = [block for block in blocks if "llmzoo key show" in block]
    told = subprocess.run(
        ["bash", "-ec", line.replace("http://127.0.0.1:8000", stack.api)],
        env=stack.environment,
        cwd=PROJECT,
        capture_output=True,
        check=True,
    )
    assert "Paris" in orjson.loads(told.stdout)["choices"][0]["message"]["content"]


def test_the_gpu_example_gives_a_gpu_worker_and_no_cpu_worker(stack: Stack) -> None:
    told = orjson.loads(stack.asked("--env-file", "deploy/gpu.env", "config", "--format", "json"))[
        "services"
    ]
    assert told["worker-gpu"]["gpus"] == [{"count": -1}]
    assert told["worker"]["scale"] == 0


@pytest.mark.skipif(not CHROMIUM, reason="Debian's chromium is not installed")
def test_the_browser_asks_for_no_login(stack: Stack, tmp_path: Path) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 860})
        page.goto(stack.webui)
        ask_for_paris(page)
        page.screenshot(path=str(tmp_path / "chat.png"))
        browser.close()


def test_an_evaluation_run(evaluated: str, client: httpx.Client) -> None:
    told = client.get(evaluated).json()
    assert told["status"] == "completed", told
    assert client.get(f"{evaluated}/report", params={"format": "md"}).text.startswith("#")


def test_the_request_id_is_in_the_logs_of_controller_and_worker(
    stack: Stack, client: httpx.Client
) -> None:
    marker = "check-4711"
    client.post("/v1/chat/completions", json=QUESTION, headers={"x-request-id": marker})
    for service in ("controller", "worker"):
        lines = stack.asked("logs", "--no-log-prefix", service).splitlines()
        assert [line for line in lines if marker in line], service


def test_no_service_logged_an_error(stack: Stack) -> None:
    for service in ("controller", "worker", "webui", "evaluator"):
        lines = stack.asked("logs", "--no-log-prefix", service).splitlines()
        assert not [line for line in lines if '"level":"error"' in line or "Traceback" in line]
