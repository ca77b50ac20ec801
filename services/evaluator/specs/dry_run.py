"""What a run would ask for at this moment: calls exactly, tokens and cost as expected.

Nothing is asked and nothing kept. Calls are counted; tokens are expected from a sample of the
calls, since a run may have half a million reviews.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from services.evaluator.jobs.asking import Assess, Estimate
from services.evaluator.jobs.plan import Plan, fits
from services.evaluator.judging.assessment import AnswerShown, ReviewTask
from services.evaluator.specs.execution import warnings_of
from shared.protocol.evals.run import CallCounts, Candidate, Run, RunSpec
from shared.protocol.evals.spec import EvalSpec, Question

_LOOKED_AT = 200
"""Answers, and reviews, that are looked at."""
_LETTERS_OF_TOKEN = 4
_MONEY_DIGITS = 9
_BY_RULE = frozenset({"string_check", "text_similarity"})


Expect = Callable[[dict[str, Any]], Estimate]
"""Returns what a chat request is expected to use."""


@dataclass
class _Total:
    """What calls use."""

    prompt: float = 0.0
    completion: float = 0.0
    cost: float | None = 0.0

    def add(self, told: Estimate, share: float) -> None:
        """Add a call that stands for `share` calls like it."""
        self.prompt += told.prompt_tokens * share
        self.completion += told.completion_tokens * share
        if self.cost is not None:
            self.cost = None if told.cost_usd is None else self.cost + told.cost_usd * share


class DryRun:
    """Counts what one run would ask for."""

    def __init__(self, spec: EvalSpec, run: RunSpec, expect: Expect, assess: Assess) -> None:
        """Look at a run that has no fault. Takes a while for a big one."""
        self._spec, self._run = spec, run
        self._expect, self._assess = expect, assess
        self._plan = Plan(spec, run)
        self._given = [
            {answer.question_id: answer.turns for answer in candidate.answers or []}
            for candidate in run.candidates
        ]
        # One generator with a fixed seed: the same run is told the same.
        self._random = Random(0)  # noqa: S311 - no secret

    def counts(self) -> CallCounts:
        """Return the counts."""
        total = _Total()
        answers = judge = 0
        if self._run.reviews is None:
            answers = self._count_answers(total)
            judge = self._count_reviews(total)
        return CallCounts(
            answers=answers,
            judge=judge,
            judge_at_most=2 * judge,
            prompt_tokens=round(total.prompt),
            completion_tokens=round(total.completion),
            cost_usd=None if total.cost is None else round(total.cost, _MONEY_DIGITS),
            warnings=warnings_of(self._spec, self._run),
        )

    def _count_answers(self, total: _Total) -> int:
        questions = self._plan.questions
        turns = [_turns(question) for question in questions]
        asked = [
            (place, who)
            for place, question in enumerate(questions)
            for who, given in enumerate(self._given)
            if question.id not in given
        ]
        looked = self._random.sample(asked, min(_LOOKED_AT, len(asked)))
        for place, who in looked:
            for body in self._conversation(questions[place], self._run.candidates[who]):
                total.add(self._expect(body), len(asked) / len(looked))
        return sum(turns[place] for place, _ in asked)

    def _count_reviews(self, total: _Total) -> int:
        """Count the reviews that need a call."""
        by_rule = [grader for grader in self._spec.graders if grader.type in _BY_RULE]
        local = sum(
            len(self._run.candidates)
            for question in self._plan.questions
            for grader in by_rule
            if fits(self._spec.applies_to.get(grader.name), question.category, question.language)
        )
        count = self._plan.reviews
        numbers = self._random.sample(range(count), min(_LOOKED_AT, count))
        bodies = [body for number in numbers if (body := self._review(number)) is not None]
        for body in bodies:
            total.add(self._expect(body), (count - local) / len(bodies))
        return count - local

    def _conversation(self, question: Question, candidate: Candidate) -> Iterator[dict[str, Any]]:
        """Yield the requests for one answer, each with what was said before."""
        sampling = candidate.sampling or self._run.sampling
        settings = sampling.model_dump(exclude_none=True)
        messages = [{"role": "system", "content": candidate.system}] if candidate.system else []
        if question.messages is not None:
            messages += [message.model_dump() for message in question.messages]
            yield {"model": candidate.model, "messages": messages, **settings}
            return
        body: dict[str, Any] = {}
        for turn in question.turns:
            if body:
                messages = [*messages, {"role": "assistant", "content": self._filler(body)}]
            messages = [*messages, {"role": "user", "content": turn}]
            body = {"model": candidate.model, "messages": messages, **settings}
            yield body

    def _review(self, number: int) -> dict[str, Any] | None:
        """Return the request of a review; None: it needs no call."""
        unit = self._plan.review(number)
        question = self._plan.questions[unit.question]
        grader = unit.dimension >= len(self._spec.dimensions)
        task = ReviewTask(
            mode=self._spec.mode,
            question=question,
            answers=tuple(self._shown(question, who) for who in unit.lineup),
            repeat=unit.repeat,
            judge=None if grader else self._plan.judges[unit.judge],
            with_references=self._spec.reference,
        )
        assessment = self._assess(self._spec, unit.dimension, task)
        return assessment.request(assessment.forms[0]) if assessment.forms else None

    def _shown(self, question: Question, who: int) -> AnswerShown:
        """Return the given answer, or a text as long as the expected one."""
        candidate = self._run.candidates[who]
        turns = self._given[who].get(question.id or "")
        if turns is None:
            turns = [self._filler(body) for body in self._conversation(question, candidate)]
        return AnswerShown(candidate.name, tuple(turns))

    def _filler(self, body: dict[str, Any]) -> str:
        return "x" * (self._expect(body).completion_tokens * _LETTERS_OF_TOKEN)


def nothing_of(run: Run) -> CallCounts:
    """Return the counts where a run with this content is there and over."""
    told = f"The run is there already ({run.id}, {run.status}), so nothing is asked."
    return CallCounts(
        answers=0,
        judge=0,
        judge_at_most=0,
        prompt_tokens=0,
        completion_tokens=0,
        cost_usd=0.0,
        warnings=[told],
    )


def _turns(question: Question) -> int:
    """Return how many calls an answer takes."""
    return 1 if question.messages is not None else len(question.turns)
