"""A run that Redis lost while it was worked on: written back as failed, with the reason.

Its answers and verdicts are gone; what is known here is enough to say so to whoever asks.
"""

from __future__ import annotations

from typing import Any

from services.evaluator.jobs.connection import reaching_redis
from services.evaluator.jobs.evals import now
from services.evaluator.jobs.records import pack_bytes
from services.evaluator.jobs.scripts.prelude import KEPT_SECONDS
from services.evaluator.jobs.store import EvalStore
from services.evaluator.jobs.stored_specs import run_text
from services.evaluator.jobs.work import Work
from shared.protocol.evals.run import RunStatus
from shared.registry import keys

LOST_WHILE_RUNNING = "Redis lost this run's answers and verdicts while it ran; run it again."


async def put_back(redis: Any, store: EvalStore, work: Work) -> None:
    """Write eval and run back. Raises StoreUnreachable."""
    await store.put_back(work.evaluation)
    fields = {
        **work.fields,
        "status": RunStatus.FAILED.value,
        "finished_at": int(now()),
        "error": LOST_WHILE_RUNNING,
    }
    name = keys.evaluation_run(work.run_id)
    index = keys.evaluation_runs(work.evaluation.id)
    spec = pack_bytes(run_text(work.run))
    with reaching_redis():
        async with redis.pipeline(transaction=True) as batch:
            batch.hset(name, mapping=fields)
            batch.expire(name, KEPT_SECONDS)
            batch.set(keys.evaluation_run_part(work.run_id, "spec"), spec, ex=KEPT_SECONDS)
            batch.zadd(index, {work.run_id: float(work.fields["created_at"])})
            batch.expire(index, KEPT_SECONDS)
            await batch.execute()
