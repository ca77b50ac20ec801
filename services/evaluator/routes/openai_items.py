"""The rows of a run that OpenAI's clients made: one item a row, with the results of all graders.

Owns how reviews become rows, and their paging. Ours are single reviews.
"""

from __future__ import annotations

import re
from typing import Any

from services.evaluator.jobs.pages import Order
from services.evaluator.jobs.store import EvalStore
from services.evaluator.routes.openai_shapes import row_status, rows_of, tokens
from shared.errors import InvalidRequest, NotFound
from shared.protocol.evals.item import ItemStatus, OutputItem
from shared.protocol.evals.run import CallUsage, Candidate, Evaluation, Run, RunSpec, Sampling
from shared.protocol.evals.spec import Question

STATUSES = ("pass", "fail", "error", "pending")
_ID = re.compile(r"outputitem_(0|[1-9][0-9]{0,8})")


class OpenAIItems:
    """Reads rows of one run."""

    def __init__(self, store: EvalStore, evaluation: Evaluation, run: Run, spec: RunSpec) -> None:
        """Read from `store`."""
        self._store = store
        self._evaluation, self._run, self._spec = evaluation, run, spec
        self._graders = len(evaluation.spec["graders"])

    async def page(
        self, after: str | None, limit: int, order: Order, status: str | None
    ) -> tuple[list[dict[str, Any]], bool]:
        """Return a page of rows, all or those of one status. Raises InvalidRequest."""
        found = rows_of(await self._store.review_states(self._run), self._graders)
        numbers = range(len(found))
        if order == "desc":
            numbers = numbers[::-1]
        if after is not None:
            numbers = numbers[numbers.index(self._number(after, len(found), "after")) + 1 :]
        wanted = [
            number for number in numbers if status is None or row_status(found[number]) == status
        ]
        return await self._read(wanted[:limit], found), len(wanted) > limit

    async def item(self, item_id: str) -> dict[str, Any]:
        """Return one row. Raises NotFound."""
        found = rows_of(await self._store.review_states(self._run), self._graders)
        number = self._number(item_id, len(found), "item_id")
        [row] = await self._read([number], found)
        return row

    async def _read(self, rows: list[int], states: list[bytes]) -> list[dict[str, Any]]:
        each = range(self._graders)
        numbers = [row * self._graders + place for row in rows for place in each]
        items = await self._store.items_at(self._evaluation, self._run, numbers)
        return [
            self._shown(
                row,
                row_status(states[row]),
                items[place * self._graders : (place + 1) * self._graders],
            )
            for place, row in enumerate(rows)
        ]

    def _shown(self, row: int, status: str, reviews: list[OutputItem]) -> dict[str, Any]:
        question = reviews[0].question
        return {
            "object": "eval.run.output_item",
            "id": f"outputitem_{row}",
            "run_id": self._run.id,
            "eval_id": self._run.eval_id,
            "created_at": self._run.created_at,
            "status": status,
            "datasource_item_id": row,
            "datasource_item": question.item or {},
            "results": [
                _result(review, grader["type"])
                for review, grader in zip(reviews, self._evaluation.spec["graders"], strict=True)
                if review.status is not ItemStatus.PENDING
            ],
            "sample": self._sample(question, reviews[0]),
        }

    def _sample(self, question: Question, review: OutputItem) -> dict[str, Any]:
        """Return what the candidate was asked and said."""
        candidate = self._spec.candidates[0]
        answer = review.answers[0]
        sampling = candidate.sampling or Sampling()
        said = [{"role": "assistant", "content": text} for text in answer.turns or []]
        error = answer.error
        return {
            "model": _name(candidate),
            "input": [message.model_dump() for message in question.messages or []],
            "output": said,
            "finish_reason": answer.finish_reason or ("stop" if said else ""),
            "usage": tokens(CallUsage.model_validate(answer.usage) if answer.usage else None),
            "error": error and {"code": error.code or "error", "message": error.message},
            "temperature": sampling.temperature if sampling.temperature is not None else 1.0,
            "top_p": sampling.top_p if sampling.top_p is not None else 1.0,
            "seed": sampling.seed or 0,
            "max_completion_tokens": sampling.max_tokens or 0,
        }

    def _number(self, item_id: str, rows: int, param: str) -> int:
        found = _ID.fullmatch(item_id)
        if found is not None and int(found[1]) < rows:
            return int(found[1])
        msg = f"The run {self._run.id!r} has no such item."
        raise InvalidRequest(msg, param=param) if param == "after" else NotFound(msg, param=param)


def _name(candidate: Candidate) -> str:
    return candidate.model or candidate.name


def _result(review: OutputItem, kind: str) -> dict[str, Any]:
    """Return what one grader made of a row."""
    verdict = review.verdict
    decoded = verdict is not None and verdict.decoded
    passed = bool(decoded and verdict and verdict.passed is not False)
    score = verdict.scores[0] if verdict and verdict.scores else float(passed)
    said = review.judge_text
    told: dict[str, Any] = {
        "name": review.dimension,
        "type": kind,
        "passed": passed,
        "score": score,
    }
    if verdict is not None and verdict.label is not None:
        told["label"] = verdict.label
    if said is not None:
        told["sample"] = {"output": [{"role": "assistant", "content": said}]}
    if review.error is not None:
        told["error"] = {"code": review.error.code or "error", "message": review.error.message}
    return told
