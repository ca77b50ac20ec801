"""What a large run takes of an evaluator's memory, from the body of its request to its end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.evaluator_process import EvaluatorProcess
from tests.fakes.quick_models import listen
from tests.fakes.waiting import eventually

pytestmark = pytest.mark.redis

ITEMS = 5_000
MOST = 3_000
"""Bytes an item. As objects, questions, answers and the rest of a run took 5,000."""


@pytest.fixture
async def evaluator(redis_server: Any, tmp_path: Path) -> AsyncIterator[EvaluatorProcess]:
    models, url = await listen()
    process = EvaluatorProcess(redis_server.url, url, tmp_path / "log", eval_concurrency=32)
    await process.start()
    yield process
    await process.close()
    models.close()


async def evaluate(evaluator: EvaluatorProcess, items: int) -> None:
    """Judge so many given answers."""
    numbers = range(items)
    path = await evaluator.create_run(
        {
            "questions": [{"id": f"{n}", "text": f"Which number follows {n}?"} for n in numbers],
            "dimensions": ["general"],
            "judge": "judge",
        },
        {
            "candidates": [
                {
                    "name": "mine",
                    "answers": [
                        {"question_id": f"{n}", "text": f"It is {n + 1}."} for n in numbers
                    ],
                }
            ]
        },
    )

    async def judged() -> bool:
        return (await evaluator.get(path))["progress"]["judged"] == items

    await eventually(judged, seconds=60)


async def test_a_run_takes_little_memory_for_each_of_its_items(evaluator):
    await evaluate(evaluator, 200)
    before = evaluator.memory("VmRSS")
    await evaluate(evaluator, ITEMS)
    grown = (evaluator.memory("VmHWM") - before) / ITEMS
    print(f"{grown:.0f} bytes an item")
    assert grown < MOST
