"""A zoo is killed in parts and stopped as a whole; nothing is left behind."""

from __future__ import annotations

import shlex
import signal
from typing import TYPE_CHECKING

import orjson
import psutil
import pytest

from tests.e2e.zoo import Zoo

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.e2e, pytest.mark.model]


def test_killed_services_come_back_and_ctrl_c_leaves_nothing(
    demo_model: str, tmp_path: Path
) -> None:
    with Zoo(tmp_path, "--model", demo_model) as zoo:
        zoo.wait_until_ready()
        everything = zoo.children()
        for service in ("worker", "controller"):
            killed = zoo.child(service)
            killed.kill()
            zoo.wait_for(lambda killed=killed: not killed.is_running(), 10)
            zoo.wait_for(lambda: answers(zoo), 60)
        everything += zoo.children()
        assert zoo.stop(signal.SIGINT) == 0
    assert not [p for p in everything if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    assert not [path for path in tmp_path.rglob("*") if path.is_socket()]
    assert zoo.run("llmzoo", "down", "--port-offset", str(zoo.offset)).returncode == 0


def test_llmzoo_down_stops_it(demo_model: str, tmp_path: Path) -> None:
    with Zoo(tmp_path, "--model", demo_model, "--only", "controller,worker") as zoo:
        zoo.wait_until_ready()
        children = zoo.children()
        down = zoo.run("llmzoo", "down", "--port-offset", str(zoo.offset))
        assert down.returncode == 0, down.stdout + down.stderr
        assert zoo.process.wait(10) == 0
    assert not [child for child in children if child.is_running()]


def answers(zoo: Zoo) -> bool:
    """Ask the announced question; what fails meanwhile must be told as such."""
    asked = zoo.run(*shlex.split(zoo.line("Try:")), "-sS")
    if not asked.stdout:
        return False
    answer = orjson.loads(asked.stdout)
    if "error" in answer:
        assert answer["error"]["type"] == "server_error", answer
        return False
    assert "Paris" in answer["choices"][0]["message"]["content"]
    return True
