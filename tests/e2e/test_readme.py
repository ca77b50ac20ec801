"""README is true: its commands are run, its table is the settings' own."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import pytest

from shared.settings_table import with_table
from tests.e2e.zoo import BIN

if TYPE_CHECKING:
    from tests.e2e.zoo import Zoo

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(bash|python)\n(.*?)```", README, re.DOTALL)
SHELL = [text.strip() for language, text in BLOCKS if language == "bash"]

# Run elsewhere: apt-get by .ci/run; `make up` by test_make_up.py, compressing by
# test_compressed.py, the interactive chat by tests/integration/test_cli_chat.py, docker compose
# by tests/compose (`make e2e-compose`), which wants an engine.
ELSEWHERE = (
    "apt-get install",
    "make up",
    ".venv/bin/llmzoo chat",
    ".venv/bin/llmzoo compress",
)


def test_the_configuration_table_is_the_settings_own() -> None:
    assert with_table(README) == README, "run `make docs`"


def test_every_make_target_named_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = set(re.findall(r"(?:`|^)make ([a-z]+)", README, re.MULTILINE))
    assert named >= {"up", "down", "test", "check"}
    for target in named:
        assert f"\n{target}:" in makefile, target


def test_every_command_named_exists() -> None:
    named = set(re.findall(r"`llmzoo ([a-z]+)", README))
    for command in sorted(named):
        told = subprocess.run(
            [BIN / "llmzoo", command, "--help"], capture_output=True, text=True, check=False
        )
        assert told.returncode == 0, command


@pytest.mark.e2e
@pytest.mark.model
def test_the_shell_blocks(zoo: Zoo) -> None:
    ran = 0
    variables: dict[str, str] = {}
    for block in SHELL:
        if "docker compose" in block or (block.startswith(ELSEWHERE) and '"' not in block):
            continue
        worker = zoo.child("worker")
        answer = run_block(zoo, block, variables)
        ran += 1
        if "/v1/evals" in block:
            variables.setdefault("EVAL_ID", str(orjson.loads(answer)["id"]))
        elif "llmzoo eval" in block:
            assert "terse" in answer
        elif "llmzoo bench" in block:
            assert "TOKENS/S" in answer
        elif "--restart" in block:
            assert worker.is_running() is False
        else:
            assert "Paris" in answer, (block, answer)
    assert ran == 8


@pytest.mark.e2e
@pytest.mark.model
@pytest.mark.parametrize("script", [text for language, text in BLOCKS if language == "python"])
def test_the_python_blocks(zoo: Zoo, script: str) -> None:
    told = zoo.run(sys.executable, "-c", moved(zoo, script))
    assert "Paris" in told.stdout, told.stderr


def run_block(zoo: Zoo, block: str, variables: dict[str, str]) -> str:
    """Run one block against this zoo and return what it prints."""
    settings = " ".join(f"{name}={shlex.quote(value)}" for name, value in variables.items())
    script = moved(zoo, block).replace(".venv/bin/", f"{BIN}/").replace("curl ", "curl -sS ")
    script = script.replace("llmzoo up ", f"llmzoo up --port-offset {zoo.offset} ")
    told = zoo.run("bash", "-ec", f"{settings}\n{script}")
    assert told.returncode == 0, (block, told.stderr)
    return told.stdout


def moved(zoo: Zoo, text: str) -> str:
    """Replace README's ports by this zoo's."""
    return re.sub(
        r"127\.0\.0\.1:(\d+)", lambda found: f"127.0.0.1:{int(found[1]) + zoo.offset}", text
    )
