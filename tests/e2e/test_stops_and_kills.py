"""A zoo is killed in parts and stopped as a whole; nothing is left behind."""

from __future__ import annotations

import shlex
import signal
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.e2e.zoo import Zoo, get, get_json

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
            zoo.wait_for(lambda: serves(zoo), 60)
        assert "Paris" in zoo.run(*shlex.split(zoo.line("Try:")), "-sS").stdout
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


def serves(zoo: Zoo) -> bool:
    """Return whether the controller answers and a worker is ready again."""
    try:
        return get(f"{zoo.api}/health/ready")[0] == 200 and any(
            model.get("state", "ready") == "ready"
            for model in get_json(f"{zoo.api}/v1/models")["data"]  # type: ignore[attr-defined]
        )
    except OSError:
        return False
