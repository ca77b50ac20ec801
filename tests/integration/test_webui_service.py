"""The web UI as a service: its operations routes, and how it starts and stops."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import httpx
import psutil
import pytest

from shared.settings import child_environment
from tests.fakes.controller_app import FakeController, ServedApp
from tests.fakes.webui_process import WebuiProcess


@pytest.fixture(scope="module")
def controller():
    return FakeController(models=[{"id": "demo"}])


@pytest.fixture(scope="module")
def webui(controller, tmp_path_factory):
    with ServedApp(controller.app) as served:
        process = WebuiProcess(
            served.url, tmp_path_factory.mktemp("webui"), LLMZOO_API_KEY="a key of the page"
        )
        try:
            yield process.wait_until_ready()
        finally:
            process.close()


def test_the_page_is_served_with_a_policy_that_keeps_it_at_home(webui):
    answer = webui.get("/")
    assert answer.status_code == 200
    assert "LLM Zoo" in answer.text
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "http:" not in policy
    assert answer.headers["x-request-id"]


def test_operations_routes_answer_beside_the_page(webui, controller):
    ready = webui.get("/health/ready")
    assert ready.json()["state"] == "ready"
    assert webui.get("/health/live").status_code == 200
    assert webui.get("/version").json()["service"] == "webui"
    metrics = webui.get("/metrics")
    assert metrics.headers["content-type"].startswith("text/plain")
    for name in (
        "llmzoo_webui_sessions 0.0",
        'llmzoo_webui_requests_total{finish_reason="stop"} 0.0',
        'llmzoo_webui_votes_total{kind="flag"} 0.0',
        'llmzoo_request_errors_total{type="server_error"} 0.0',
        "llmzoo_time_to_first_token_seconds_count 0.0",
        "llmzoo_webui_log_failures_total 0.0",
        "llmzoo_heartbeat_age_seconds",
        "process_resident_memory_bytes",
    ):
        assert name in metrics.text
    assert "Bearer a key of the page" in controller.authorizations


def test_a_page_at_rest_lets_the_machine_rest(webui):
    """Each time it wakes, a worker that computes on the same cores stops for it."""
    webui.get("/")
    process = psutil.Process(webui.process.pid)
    before, seconds = process.num_ctx_switches().voluntary, 3.0
    time.sleep(seconds)
    assert (process.num_ctx_switches().voluntary - before) / seconds < 100


def test_nothing_can_be_uploaded_or_tracked(webui):
    upload = httpx.post(
        f"{webui.url}/gradio_api/upload", files={"files": ("a.txt", b"ab")}, trust_env=False
    )
    assert upload.status_code == 413
    config = webui.get("/config").json()
    assert config["analytics_enabled"] is False
    assert config["run_history"] is False


def test_a_page_without_a_controller_is_up_and_says_so(tmp_path):
    webui = WebuiProcess("http://127.0.0.1:9", tmp_path)
    try:
        webui.wait_until_ready()
        while "Nothing answers" not in webui.get("/health/ready").json()["controller"]:
            pass  # the first question to the controller is under way
        assert webui.get("/").status_code == 200
        assert webui.terminate() == 0
    finally:
        webui.close()


def test_sigterm_hangs_up_on_open_pages_and_ends(tmp_path, controller):
    with ServedApp(controller.app) as served:
        webui = WebuiProcess(served.url, tmp_path)
        try:
            webui.wait_until_ready()
            opened, closed = threading.Event(), threading.Event()

            def hold_a_page() -> None:
                address = f"{webui.url}/gradio_api/heartbeat/a-page"
                with httpx.stream("GET", address, timeout=60, trust_env=False) as page:
                    for _ in page.iter_raw():
                        opened.set()
                closed.set()

            threading.Thread(target=hold_a_page, daemon=True).start()
            assert opened.wait(30)
            assert webui.terminate(20) == 0  # the drain timeout is 30 s
            assert closed.wait(10)
        finally:
            webui.close()


def test_a_wrong_setting_ends_the_start_with_its_name():
    run = subprocess.run(
        [sys.executable, "-m", "services.webui"],
        env=child_environment({"LLMZOO_WEBUI_PORT": "none"}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 2
    assert "LLMZOO_WEBUI_PORT" in run.stderr


def test_a_taken_port_ends_the_start_with_its_number(webui):
    port = webui.url.rpartition(":")[2]
    run = subprocess.run(
        [sys.executable, "-m", "services.webui"],
        env=child_environment({"LLMZOO_WEBUI_PORT": port}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 2
    assert port in run.stderr
