"""Making a run: its first state in Redis, written by one script.

Owns how many runs there may be. The same content twice is the same run.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from typing import Any

from services.evaluator.jobs.connection import Script, reaching_redis
from services.evaluator.jobs.evals import FULL_RETRY_AFTER, content_of, lost, now
from services.evaluator.jobs.pages import drop_expired
from services.evaluator.jobs.plan import Plan
from services.evaluator.jobs.records import pack_bytes
from services.evaluator.jobs.runs import answer_states, deadline_ms, fields_of
from services.evaluator.jobs.scripts.life import CREATE_RUN
from services.evaluator.jobs.stored_specs import run_text, spec_of
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
    written = await asyncio.to_thread(_written, evaluation, run)
    index = keys.evaluation_runs(evaluation.id)
    fields = {**written.fields, "eval": evaluation.id, "created_at": created}
    names = [*names_of(run_id), keys.evaluation(evaluation.id), index, written.content]
    values = (
        *(run_id, int(force_new), MAX_RUNS_OF_EVAL, MAX_OPEN_RUNS, created),
        *(written.spec, written.answers, written.reviews, deadline_ms(run.limits)),
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


async def find_run(redis: Any, evaluation: Evaluation, run: RunSpec) -> str | None:
    """Return the id of the run with this content, if there was one. Raises StoreUnreachable."""
    told = await asyncio.to_thread(run_text, run)
    with reaching_redis():
        found = await redis.get(_content_key(evaluation, told))
        if found is None:
            return None
        listed = await redis.zscore(keys.evaluation_runs(evaluation.id), found)
    return None if listed is None else found.decode()


def names_of(run_id: str) -> list[str]:
    """Return the keys that every script of a run takes first."""
    return [keys.evaluation_run(run_id), keys.OPEN_RUNS]


@dataclass(frozen=True, slots=True)
class _Written:
    """A new run as it is stored."""

    spec: bytes
    content: str
    answers: bytes
    reviews: int
    fields: dict[str, str | int | float | bytes]


def _written(evaluation: Evaluation, run: RunSpec) -> _Written:
    """Return what is stored of a new run. Raises InvalidSpec. Takes a while for a big one."""
    told = run_text(run)
    plan = Plan(spec_of(evaluation), run)
    answers = answer_states(plan, run)
    return _Written(
        spec=pack_bytes(told),
        content=_content_key(evaluation, told),
        answers=answers,
        reviews=plan.reviews,
        fields=fields_of(run, plan, answers),
    )


def _content_key(evaluation: Evaluation, told: bytes) -> str:
    return keys.evaluation_run_content(content_of(evaluation.id, hashlib.sha256(told).hexdigest()))


async def _makes_room(redis: Any, index: str) -> bool:
    """Return whether runs have expired that still were in the indices."""
    of_eval = await drop_expired(redis, index, keys.evaluation_run)
    return await drop_expired(redis, keys.OPEN_RUNS, keys.evaluation_run) or of_eval


def _full(*, of_eval: bool) -> Overloaded:
    what = "runs of this eval are kept" if of_eval else "runs are open"
    most = MAX_RUNS_OF_EVAL if of_eval else MAX_OPEN_RUNS
    msg = f"{most} {what} already; try again later."
    return Overloaded(msg, retry_after=FULL_RETRY_AFTER)
