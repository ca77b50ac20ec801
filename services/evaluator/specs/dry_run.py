"""What a run would ask for at this moment: calls exactly, tokens and cost as expected and at most.

Nothing is asked and nothing kept. Calls are counted; tokens come from a sample of the calls, since
a run may have half a million reviews. At most: every answer as long as its request allows, and
every verdict unreadable at first, as is reserved before calls are made. How a text is counted is a
guess in both, until the model has told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol

from services.evaluator.jobs.asking import Assess, Estimate
from services.evaluator.jobs.plan import Plan, fits
from services.evaluator.judging.assessment import AnswerShown, Assessment, ReviewTask
from services.evaluator.judging.faults import Fault
from services.evaluator.specs.execution import warnings_of
from shared.protocol.evals.item import Verdict
from shared.protocol.evals.run import CallCounts, Candidate, Run, RunSpec
from shared.protocol.evals.spec import EvalSpec, Question

_LOOKED_AT = 200
"""Answers, and reviews, that are looked at."""
_LETTERS_OF_TOKEN = 4
_MONEY_DIGITS = 9
_BY_RULE = frozenset({"string_check", "text_similarity"})

Estimated = Callable[[dict[str, Any]], Estimate]
"""Returns what a chat request uses."""


class Foresight(Protocol):
    """Knows what calls use before they are made."""

    def expected(self, body: dict[str, Any]) -> Estimate:
        """Return what a call probably uses."""
        ...

    def estimate(self, body: dict[str, Any]) -> Estimate:
        """Return what a call uses at most."""
        ...


@dataclass
class _Total:
    """What calls use, as `told` says of each."""

    told: Estimated
    tries: int = 1
    """Calls for each verdict."""

    prompt: float = 0.0
    completion: float = 0.0
    cost: float | None = 0.0

    def add(self, body: dict[str, Any], share: float) -> None:
        """Add a call that stands for `share` calls like it."""
        told = self.told(body)
        self.prompt += told.prompt_tokens * share
        self.completion += told.completion_tokens * share
        if self.cost is not None:
            self.cost = None if told.cost_usd is None else self.cost + told.cost_usd * share

    def filler(self, body: dict[str, Any]) -> str:
        """Return a text as long as the answer."""
        return "x" * (self.told(body).completion_tokens * _LETTERS_OF_TOKEN)

    @property
    def dollars(self) -> float | None:
        """What all cost."""
        return None if self.cost is None else round(self.cost, _MONEY_DIGITS)


class DryRun:
    """Counts what one run would ask for."""

    def __init__(self, spec: EvalSpec, run: RunSpec, foresight: Foresight, assess: Assess) -> None:
        """Look at a run that has no fault. Takes a while for a big one."""
        self._spec, self._run = spec, run
        self._foresight, self._assess = foresight, assess
        self._plan = Plan(spec, run)
        self._given = [
            {answer.question_id: answer.turns for answer in candidate.answers or []}
            for candidate in run.candidates
        ]
        # Drawn with a fixed seed: the same run is told the same.
        self._random = Random(0)  # noqa: S311 - no secret
        self._asked = [
            (place, who)
            for place, question in enumerate(self._plan.questions)
            for who, given in enumerate(self._given)
            if question.id not in given
        ]
        self._answers = self._random.sample(self._asked, min(_LOOKED_AT, len(self._asked)))
        reviews = self._plan.reviews
        self._reviews = self._random.sample(range(reviews), min(_LOOKED_AT, reviews))

    def counts(self) -> CallCounts:
        """Return the counts."""
        likely = _Total(self._foresight.expected)
        most = _Total(self._foresight.estimate, tries=2)
        answers = judge = 0
        if self._run.reviews is None:
            turns = [_turns(question) for question in self._plan.questions]
            answers = sum(turns[place] for place, _ in self._asked)
            judge = self._plan.reviews - self._local()
            for total in (likely, most):
                self._add_answers(total)
                self._add_reviews(total, judge)
        return CallCounts(
            answers=answers,
            judge=judge,
            judge_at_most=2 * judge,
            prompt_tokens=round(likely.prompt),
            completion_tokens=round(likely.completion),
            cost_usd=likely.dollars,
            tokens_at_most=round(most.prompt + most.completion),
            cost_usd_at_most=most.dollars,
            warnings=warnings_of(self._spec, self._run),
        )

    def _add_answers(self, total: _Total) -> None:
        for place, who in self._answers:
            share = len(self._asked) / len(self._answers)
            question, candidate = self._plan.questions[place], self._run.candidates[who]
            for body in self._conversation(question, candidate, total):
                total.add(body, share)

    def _local(self) -> int:
        """Return how many reviews need no call."""
        by_rule = [grader for grader in self._spec.graders if grader.type in _BY_RULE]
        return sum(
            len(self._run.candidates)
            for question in self._plan.questions
            for grader in by_rule
            if fits(self._spec.applies_to.get(grader.name), question.category, question.language)
        )

    def _add_reviews(self, total: _Total, count: int) -> None:
        found = [self._assessment(number, total) for number in self._reviews]
        assessments = [each for each in found if each.forms]
        for assessment in assessments:
            share = count / len(assessments)
            form = assessment.forms[0]
            body = assessment.request(form)
            total.add(body, share)
            if total.tries > 1:
                unread = Verdict(rule=Fault.UNREADABLE)
                total.add(assessment.again(form, total.filler(body), unread), share)

    def _conversation(
        self, question: Question, candidate: Candidate, total: _Total
    ) -> Iterator[dict[str, Any]]:
        """Yield the requests for one answer, each with what was said before."""
        sampling = candidate.sampling or self._run.sampling
        settings = sampling.model_dump(exclude_none=True)
        messages = (
            [{"role": "system", "content": candidate.system}]
            if candidate.system is not None
            else []
        )
        if question.messages is not None:
            messages += [message.model_dump() for message in question.messages]
            yield {"model": candidate.model, "messages": messages, **settings}
            return
        body: dict[str, Any] = {}
        for turn in question.turns:
            if body:
                messages = [*messages, {"role": "assistant", "content": total.filler(body)}]
            messages = [*messages, {"role": "user", "content": turn}]
            body = {"model": candidate.model, "messages": messages, **settings}
            yield body

    def _assessment(self, number: int, total: _Total) -> Assessment:
        """Return a review of answers that are there, or as long as `total` has them."""
        unit = self._plan.review(number)
        question = self._plan.questions[unit.question]
        grader = unit.dimension >= len(self._spec.dimensions)
        task = ReviewTask(
            mode=self._spec.mode,
            question=question,
            answers=tuple(self._shown(question, who, total) for who in unit.lineup),
            repeat=unit.repeat,
            judge=None if grader else self._plan.judges[unit.judge],
            with_references=self._spec.reference,
        )
        return self._assess(self._spec, unit.dimension, task)

    def _shown(self, question: Question, who: int, total: _Total) -> AnswerShown:
        candidate = self._run.candidates[who]
        turns = self._given[who].get(question.id or "")
        if turns is None:
            talk = self._conversation(question, candidate, total)
            turns = [total.filler(body) for body in talk]
        return AnswerShown(candidate.name, tuple(turns))


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
        tokens_at_most=0,
        cost_usd_at_most=0.0,
        warnings=[told],
    )


def _turns(question: Question) -> int:
    """Return how many calls an answer takes."""
    return 1 if question.messages is not None else len(question.turns)
