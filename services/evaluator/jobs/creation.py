"""Making a run: its first state in Redis, written by one script.

Owns how many runs there may be. The same content twice is the same run.
"""

from __future__ import annotations

import asyncio
from typing import Any

import orjson

from services.evaluator.jobs.connection import Script
from services.evaluator.jobs.evals import FULL_RETRY_AFTER, content_of, lost, now
from services.evaluator.jobs.pages import drop_expired
from services.evaluator.jobs.plan import Plan
from services.evaluator.jobs.records import pack_bytes, spec_of
from services.evaluator.jobs.runs import answer_states, deadline_ms, fields_of
from services.evaluator.jobs.scripts.life import CREATE_RUN
from shared.errors import Overloaded
from shared.protocol.evals.run import Evaluation, RunSpec
from shared.registry import keys

MAX_RUNS_OF_EVAL = 100
MAX_OPEN_RUNS = 64

_CREATE = Script(CREATE_RUN)


async def create_run(
    redis: Any, run_id: str, evaluation: Evaluation, run: RunSpec, *, force_new: bool
) -> tuple[str, bool]:
    """Return the id of the run with this content, and whether it is a new one.

    Raises:
        Overloaded; Gone: the eval was deleted. InvalidSpec; StoreUnreachable.
    """
    created = now()
    told = orjson.dumps(run.model_dump(mode="json"))
    plan = await asyncio.to_thread(lambda: Plan(spec_of(evaluation.spec), run))
    answers = answer_states(plan, run)
    index = keys.evaluation_runs(evaluation.id)
    content = keys.evaluation_run_content(content_of(evaluation.id, told.decode()))
    fields = fields_of(run, plan, answers)
    fields |= {"eval": evaluation.id, "created_at": created}
    names = [*names_of(run_id), keys.evaluation(evaluation.id), index, content]
    values = (
        *(run_id, int(force_new), MAX_RUNS_OF_EVAL, MAX_OPEN_RUNS, created),
        *(pack_bytes(told), answers, plan.reviews, deadline_ms(run.limits)),
        *(part for pair in fields.items() for part in pair),
    )
    word, *found = await _CREATE.run(redis, names, *values)
    if word == b"full" and await _makes_room(redis, index):
        word, *found = await _CREATE.run(redis, names, *values)
    if word == b"gone":
        raise lost("eval", evaluation.id)
    if word == b"full":
        raise _full(of_eval=found[0] == b"runs")
    return found[0].decode(), word == b"made"


def names_of(run_id: str) -> list[str]:
    """Return the keys that every script of a run takes first."""
    return [keys.evaluation_run(run_id), keys.OPEN_RUNS]


async def _makes_room(redis: Any, index: str) -> bool:
    """Return whether runs have expired that still were in the indices."""
    of_eval = await drop_expired(redis, index, keys.evaluation_run)
    return await drop_expired(redis, keys.OPEN_RUNS, keys.evaluation_run) or of_eval


def _full(*, of_eval: bool) -> Overloaded:
    what = "runs of this eval are kept" if of_eval else "runs are open"
    most = MAX_RUNS_OF_EVAL if of_eval else MAX_OPEN_RUNS
    msg = f"{most} {what} already; try again later."
    return Overloaded(msg, retry_after=FULL_RETRY_AFTER)
