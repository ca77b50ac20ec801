"""`llmzoo eval` with the real evaluator: a shipped spec to its end, its report, and again for free."""

from __future__ import annotations

import asyncio
import re
import sys

import pytest

from tests.fakes.command_line import clean_environment
from tests.fakes.scripted_models import Reply

pytestmark = pytest.mark.redis


def judging(call):
    """As a candidate say little; as a judge prefer what stands first, or give a 7."""
    if call.model != "judge":
        return Reply(f"{call.model} says so.")
    return Reply('{"reason": "better", "winner": "A"}')


@pytest.fixture
def models(models):
    models.reply = judging
    return models


@pytest.fixture
def llmzoo(evaluator, tmp_path):
    """Runs `llmzoo eval` with a state folder of its own; returns its exit code and what it said."""
    own = {"LLMZOO_BASE_URL": evaluator.url, "LLMZOO_STATE_DIR": str(tmp_path / "state")}
    return lambda *words: said_by(clean_environment(**own, COLUMNS="200"), *words)


async def said_by(environment, *words):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.cli", "eval", *words,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, said.decode()


async def test_a_shipped_spec_from_the_command_line(llmzoo, models, tmp_path):
    words = ("run", "pairwise", "-m", "alpha", "-m", "beta", "--judge", "judge", "--yes")
    code, said = await llmzoo(*words, "--out", str(tmp_path / "report"))
    assert code == 0, said
    assert "alpha" in said
    assert {file.suffix for file in (tmp_path / "report").iterdir()} >= {".html", ".json"}
    calls = len(models.calls)
    assert calls > 300
    code, said = await llmzoo(*words)
    assert code == 0, said
    assert len(models.calls) == calls
    run_id = re.search(r"evalrun_[0-9a-f]+", said)[0]
    code, said = await llmzoo("report", run_id, "--format", "md")
    assert (code, "alpha" in said) == (0, True), said
