"""The jobs of an evaluator as a process: `python -m tests.fakes.jobs_process LEASE`.

It serves nothing; it finds runs in the Redis of its settings, makes their calls over HTTP, with
an Idempotency-Key made of the content, and is there to be killed.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
import uuid
from typing import Any

import orjson
from prometheus_client import CollectorRegistry

from services.evaluator.calling.http_client import CallClient
from services.evaluator.jobs.connection import open_connection
from services.evaluator.jobs.execution import Execution
from services.evaluator.jobs.ids import Ids
from services.evaluator.jobs.queue import Queue
from services.evaluator.jobs.runner import Runner
from services.evaluator.jobs.store import EvalStore
from services.evaluator.jobs.works import Works
from services.evaluator.metrics import EvaluatorMetrics
from shared.errors import LLMZooError
from shared.settings import EvaluatorSettings, load
from tests.fakes.eval_calls import FlatEstimates, Said, assess

_TRIES = 12


class HttpCalls:
    """Calls through the controller, tried again while it is busy."""

    def __init__(self, client: CallClient) -> None:
        self._client = client

    async def ask(self, body: dict[str, Any], *, salt: str = "") -> Said:
        content = orjson.dumps([body, salt], option=orjson.OPT_SORT_KEYS)
        key = f"eval-{hashlib.sha256(content).hexdigest()}"
        for attempt in range(_TRIES):
            try:
                answer = await self._client.chat(orjson.dumps(body), key)
            except LLMZooError as fault:
                if not fault.retryable or attempt == _TRIES - 1:
                    raise
                await asyncio.sleep(min(0.05 * 2**attempt, 1.0))
            else:
                usage = answer.usage
                return Said(
                    answer.text,
                    answer.finish_reason,
                    usage.get("prompt_tokens", 0),
                    usage.get("completion_tokens", 0),
                    cost_usd=0.0,
                    repeats=answer.repeats,
                )
        raise AssertionError


async def main(lease: float) -> None:
    settings = load(EvaluatorSettings)
    redis = open_connection(settings)
    client = CallClient(settings.base_url, "")
    metrics = EvaluatorMetrics(CollectorRegistry())
    queue = Queue(redis, uuid.uuid4().hex, lease)
    store = EvalStore(redis, Ids("token"))
    works = Works(redis, queue, store, metrics)
    execution = Execution(redis, HttpCalls(client), FlatEstimates(0.0), assess, metrics)
    runner = Runner(queue, works, execution, metrics, settings.eval_concurrency)
    runner.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1])))
