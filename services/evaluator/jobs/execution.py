"""Executing one run: each item is answered, judged, read and committed by itself.

Owns an item's way and what becomes of its failures: an item that cannot be answered or judged
is errored with the reason, and the run goes on. Holds no lease; whoever lost it learns it from
the next commit.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal, TypeVar

import structlog

from services.evaluator.calls import Calls
from services.evaluator.jobs.answers import answer_request
from services.evaluator.jobs.claims import Claims, RunNotHeld, Work
from services.evaluator.jobs.connection import StoreUnreachable
from services.evaluator.jobs.records import StoredAnswer, StoredResult, used
from services.evaluator.judging.dimensions import Dimension
from services.evaluator.judging.judge import judge_request, read_verdict
from services.evaluator.metrics import EvaluatorMetrics
from shared.errors import LLMZooError
from shared.protocol.evals import ItemError, ItemStatus, RunStatus, Verdict

log = structlog.get_logger(__name__)

_MESSAGE_LENGTH = 500
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0

Stage = Literal["answer", "judge"]
T = TypeVar("T")


class RunExecution:
    """Works off what is left of one run."""

    def __init__(
        self,
        work: Work,
        claims: Claims,
        calls: Calls,
        dimensions: Mapping[str, Dimension],
        metrics: EvaluatorMetrics,
    ) -> None:
        """Prepare; nothing is called before `run`."""
        self._work = work
        self._claims = claims
        self._calls = calls
        self._dimension = dimensions[work.evaluation.dimensions[0]]
        self._metrics = metrics
        self._left = deque(work.left)

    async def run(self, width: int) -> RunStatus:
        """Finish every item, `width` at a time, and the run; return how it ended.

        Raises:
            RunNotHeld: the run was cancelled or taken over; calls in flight are closed.
        """
        lost: list[RunNotHeld] = []
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(width, len(self._left))):
                    group.create_task(self._items())
        except* RunNotHeld as faults:
            lost = [fault for fault in faults.exceptions if isinstance(fault, RunNotHeld)]
        if lost:
            raise lost[0]
        return await self._finish()

    async def _finish(self) -> RunStatus:
        run_id = self._work.run.id
        replies = await _until_reached(lambda: self._claims.replies(run_id))
        status, error = RunStatus.COMPLETED, ""
        if not replies:
            status, error = RunStatus.FAILED, "No item could be judged; each one's error says why."
        await _until_reached(lambda: self._claims.finish(run_id, status, error))
        return status

    async def _items(self) -> None:
        while self._left:
            await self._item(self._left.popleft())

    async def _item(self, place: int) -> None:
        result = await self._result(place)
        await _until_reached(lambda: self._claims.commit_result(self._work.run, place, result))
        self._metrics.items.labels(result.status.value).inc()

    async def _result(self, place: int) -> StoredResult:
        question = self._work.evaluation.questions[place].text
        stage: Stage = "answer"
        try:
            answer = self._work.answers.get(place) or await self._answer(place, question)
            stage = "judge"
            return await self._judged(question, answer.text)
        except RunNotHeld:
            raise
        except LLMZooError as fault:
            log.info(
                "item errored", run=self._work.run.id, place=place, stage=stage, code=fault.code
            )
            return _errored(stage, fault.message, fault.code, fault.status)
        except Exception as fault:
            # One item must not end a run of a thousand, whatever a server answers. This is one
            # of the three places with a broad except.
            self._metrics.faults.inc()
            log.exception("item failed", run=self._work.run.id, place=place, stage=stage)
            return _errored(stage, f"Internal error ({type(fault).__name__}).", "internal", 500)

    async def _answer(self, place: int, question: str) -> StoredAnswer:
        spec = self._work.run.spec
        told = await self._calls.ask(answer_request(spec.candidates[0], question, spec))
        answer = StoredAnswer(
            text=told.text, finish_reason=told.finish_reason, usage=used(told.usage)
        )
        await _until_reached(lambda: self._claims.commit_answer(self._work.run, place, answer))
        return answer

    async def _judged(self, question: str, answer: str) -> StoredResult:
        judge = self._work.evaluation.judge
        try:
            told = await self._calls.ask(judge_request(judge, self._dimension, question, answer))
        except LLMZooError:
            self._metrics.judge_calls.labels("failed").inc()
            raise
        self._metrics.judge_calls.labels("ok").inc()
        reading = read_verdict(told.text, question, answer)
        return StoredResult(
            status=ItemStatus.JUDGED if reading.scores else ItemStatus.UNDECODED,
            judge_text=told.text,
            verdict=Verdict(
                score=reading.scores[0] if reading.scores else None, rule=reading.rule.value
            ),
            usage=used(told.usage),
        )


def _errored(stage: Stage, message: str, code: str | None, status: int) -> StoredResult:
    error = ItemError(stage=stage, message=message[:_MESSAGE_LENGTH], code=code, status=status)
    return StoredResult(status=ItemStatus.ERRORED, error=error)


async def _until_reached(write: Callable[[], Awaitable[T]]) -> T:
    """Return what `write` returns, waiting for Redis as long as it is away.

    What is written was paid for with a call, so it is not given up; the scripts behind write a
    thing once however often they are asked.
    """
    pause = _FIRST_PAUSE
    while True:
        try:
            return await write()
        except StoreUnreachable:
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
