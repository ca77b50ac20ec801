"""Reading all of a run in slices, so that a large one keeps nobody else waiting.

Owns the slices; what becomes of what is read is in `material`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from services.evaluator.jobs.connection import reaching_redis
from services.evaluator.jobs.given_answers import GivenAnswers
from services.evaluator.jobs.items import overrides_of
from services.evaluator.jobs.material import RunMaterial
from services.evaluator.jobs.plan import Plan
from services.evaluator.jobs.records import StoredAnswer, StoredResult
from services.evaluator.jobs.stored_specs import spec_of
from shared.protocol.evals.run import Evaluation, Run, RunSpec
from shared.registry import keys

_SLICE = 500

T = TypeVar("T")


async def read_material(
    redis: Any, evaluation: Evaluation, run: Run, run_spec: RunSpec
) -> RunMaterial:
    """Return all that there is of a run at this moment. Raises StoreUnreachable."""
    spec = await asyncio.to_thread(spec_of, evaluation)
    plan = await asyncio.to_thread(Plan, spec, run_spec)
    given = await asyncio.to_thread(lambda: dict(GivenAnswers(plan)))
    answers = await _all(redis, run.id, "answers", plan.answers, StoredAnswer.decode)
    results = await _all(redis, run.id, "results", plan.reviews, StoredResult.decode)
    return RunMaterial(
        evaluation=evaluation,
        spec=spec,
        run=run,
        run_spec=run_spec,
        plan=plan,
        answers=given | answers,
        results=results,
        overrides=await _overrides(redis, run.id),
    )


async def _all(
    redis: Any, run_id: str, part: keys.RunPart, count: int, decode: Callable[[bytes], T]
) -> dict[int, T]:
    name = keys.evaluation_run_part(run_id, part)
    found: dict[int, T] = {}
    with reaching_redis():
        if not await redis.exists(name):
            return found
        for start in range(0, count, _SLICE):
            numbers = range(start, min(start + _SLICE, count))
            stored = await redis.hmget(name, numbers)
            for number, text in zip(numbers, stored, strict=True):
                if text is not None:
                    found[number] = decode(text)
            await asyncio.sleep(0)
    return found


async def _overrides(redis: Any, run_id: str) -> dict[int, Any]:
    with reaching_redis():
        stored = await redis.hgetall(keys.evaluation_run_part(run_id, "overrides"))
    return {int(number): overrides_of(text) for number, text in stored.items()}
