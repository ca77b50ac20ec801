"""`make up`, as README says it, in the environment that `make` has made; Ctrl-C ends it."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.e2e.zoo import Zoo

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
VENV = Path(sys.prefix)

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.model,
    pytest.mark.skipif(
        not (VENV / ".ready").exists(), reason="this environment was not made by `make`"
    ),
]


@pytest.fixture
def made(demo_model: str, tmp_path: Path) -> Iterator[Zoo]:
    """A zoo started by `make up`."""
    zoo = Zoo(tmp_path, "--model", demo_model)
    options = f"--port-offset {zoo.offset}"
    zoo.command = ["make", "-C", str(ROOT), "up", f"VENV={VENV}", f"ARGS={options}"]
    with zoo:
        zoo.wait_until_ready()
        yield zoo


def test_make_up_answers_and_ctrl_c_ends_it(made: Zoo, tmp_path: Path) -> None:
    assert "Paris" in made.run(*shlex.split(made.line("Try:")), "-sS").stdout
    children = made.children()
    assert len(children) >= 6
    # A terminal's Ctrl-C reaches make and the supervisor alike.
    os.killpg(made.process.pid, signal.SIGINT)
    made.process.wait(60)
    assert "killing" not in made.text
    assert not [p for p in children if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    assert not [path for path in tmp_path.rglob("*") if path.is_socket()]
