"""The items of a run as the API tells them: pages of them, by status or all, and one alone.

An item is a review; in a run that reviews nothing it is an answer. Owns what is read of Redis
for them and how it becomes an `OutputItem`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from services.evaluator.jobs.connection import reaching_redis
from services.evaluator.jobs.given_answers import GivenAnswers
from services.evaluator.jobs.material import judge_name
from services.evaluator.jobs.plan import Plan
from services.evaluator.jobs.records import StoredAnswer, StoredResult
from services.evaluator.jobs.states import status_of
from shared.errors import InvalidRequest, NotFound
from shared.protocol.evals.item import ItemAnswer, ItemError, OutputItem, Override
from shared.protocol.evals.run import Run
from shared.registry import keys

_LONGEST_NUMBER = 8


@dataclass(frozen=True, slots=True)
class ItemReader:
    """Reads items of one run."""

    redis: Any
    run_id: str
    plan: Plan
    given: Mapping[int, StoredAnswer]

    @classmethod
    def of(cls, redis: Any, run_id: str, plan: Plan) -> ItemReader:
        """Return the reader of a run with this plan."""
        return cls(redis, run_id, plan, GivenAnswers(plan))

    def part(self, name: keys.RunPart) -> str:
        """Return the name of a part of the run."""
        return keys.evaluation_run_part(self.run_id, name)

    async def letters(self) -> bytes:
        """Return how far each item is."""
        part = "review-states" if self.plan.reviews else "answer-states"
        with reaching_redis():
            return await self.redis.get(self.part(part)) or b""

    async def read(self, numbers: list[int], letters: bytes) -> list[OutputItem]:
        """Return these items."""
        if not numbers:
            return []
        plan = self.plan
        if plan.reviews:
            units = [plan.review(number) for number in numbers]
            wanted = [
                plan.answer_number(unit.question, place) for unit in units for place in unit.lineup
            ]
        else:
            wanted = numbers
        answers = await self._answers(wanted)
        results, overrides = await self._results(numbers if plan.reviews else [])
        return [
            self._item(number, letters, answers, results.get(number), overrides.get(number, []))
            for number in numbers
        ]

    async def _answers(self, numbers: list[int]) -> dict[int, StoredAnswer]:
        asked = sorted({number for number in numbers if number not in self.given})
        found = await self._part("answers", asked)
        stored = {number: StoredAnswer.decode(text) for number, text in found.items()}
        return {number: self.given[number] for number in numbers if number in self.given} | stored

    async def _results(
        self, numbers: list[int]
    ) -> tuple[dict[int, StoredResult], dict[int, list[Override]]]:
        results = await self._part("results", numbers)
        overrides = await self._part("overrides", numbers)
        return (
            {number: StoredResult.decode(text) for number, text in results.items()},
            {number: overrides_of(text) for number, text in overrides.items()},
        )

    async def _part(self, part: keys.RunPart, numbers: list[int]) -> dict[int, bytes]:
        if not numbers:
            return {}
        with reaching_redis():
            found = await self.redis.hmget(self.part(part), numbers)
        return {
            number: text for number, text in zip(numbers, found, strict=True) if text is not None
        }

    def _item(
        self,
        number: int,
        letters: bytes,
        answers: dict[int, StoredAnswer],
        result: StoredResult | None,
        overrides: list[Override],
    ) -> OutputItem:
        plan = self.plan
        unit = plan.review(number) if plan.reviews else None
        question, lineup = (
            (unit.question, unit.lineup)
            if unit
            else (plan.answer(number).question, (plan.answer(number).candidate,))
        )
        shown = [self._shown(question, place, answers) for place in lineup]
        usage = result.usage if result else None
        if unit is None and number in answers:
            usage = answers[number].usage
        return OutputItem(
            id=f"item_{number}",
            run_id=self.run_id,
            question=plan.questions[question],
            dimension=plan.spec.dimension_names[unit.dimension] if unit else None,
            judge=judge_name(plan, unit) if unit else None,
            lineup=[plan.candidates[place].name for place in lineup],
            repeat=unit.repeat if unit else 0,
            status=status_of(letters[number : number + 1]),
            answers=shown,
            judge_text=result.judge_text if result else None,
            verdict=overrides[-1].verdict if overrides else result and result.verdict,
            overrides=overrides,
            error=_error(result, shown),
            model_version=(result.model_version or None) if result else None,
            usage=usage.told().model_dump() if usage else None,
        )

    def _shown(self, question: int, candidate: int, answers: dict[int, StoredAnswer]) -> ItemAnswer:
        found = answers.get(self.plan.answer_number(question, candidate))
        name = self.plan.candidates[candidate].name
        if found is None:
            return ItemAnswer(candidate=name, turns=None)
        return ItemAnswer(
            candidate=name,
            turns=list(found.turns),
            finish_reason=found.finish_reason or None,
            error=found.error,
            usage=found.usage.told().model_dump(),
        )


def _error(result: StoredResult | None, shown: list[ItemAnswer]) -> ItemError | None:
    if result is not None:
        return result.error
    return shown[0].error if len(shown) == 1 else None


def overrides_of(stored: bytes) -> list[Override]:
    """Return the overrides of one item, oldest first."""
    return [Override.model_validate(each) for each in orjson.loads(stored)]


def number_of(item_id: str, run: Run, param: str) -> int:
    """Return the number of an item. Raises InvalidRequest for `after`, else NotFound."""
    number = item_id.removeprefix("item_")
    if (
        number != item_id
        and number.isascii()
        and number.isdigit()
        and len(number) <= _LONGEST_NUMBER
    ):
        place = int(number)
        if place < run.progress.total and str(place) == number:
            return place
    msg = f"The run {run.id!r} has no item {item_id!r}."
    raise InvalidRequest(msg, param=param) if param == "after" else NotFound(msg, param=param)
