"""All of a run at once, for results, reports and artefacts, and its digest.

Owns how stored records become the rows that statistics read. Computes no figure; callers that
serve others meanwhile run `reviews`, `answer_rows` and `digest` in a thread.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import orjson

from services.evaluator.analysis.rows import AnswerRow, Review
from services.evaluator.jobs.plan import Plan, ReviewUnit
from services.evaluator.jobs.records import StoredAnswer, StoredResult
from services.evaluator.ranks import ranks_of
from shared.protocol.evals.item import Override, Verdict
from shared.protocol.evals.run import Evaluation, Run, RunSpec
from shared.protocol.evals.spec import EvalSpec

_READ = ("ranks", "scores", "label", "passed")


@dataclass(frozen=True)
class RunMaterial:
    """What there is of a run at one moment."""

    evaluation: Evaluation
    spec: EvalSpec
    run: Run
    run_spec: RunSpec
    plan: Plan
    answers: dict[int, StoredAnswer]
    """By number, given ones among them."""
    results: dict[int, StoredResult]
    overrides: dict[int, list[Override]]

    def reviews(self) -> list[Review]:
        """Return the verdicts and what could not be read, by number; without errored reviews."""
        numbers = sorted(self.results)
        return [self._review(number) for number in numbers if self.verdict(number) is not None]

    def answer_rows(self) -> list[AnswerRow]:
        """Return the answers that there are, by number."""
        return [
            self._answer_row(number, self.answers[number])
            for number in sorted(self.answers)
            if self.answers[number].error is None
        ]

    def verdict(self, number: int) -> Verdict | None:
        """Return what counts of a review: a person's verdict, else the judge's."""
        told = self.overrides.get(number)
        return told[-1].verdict if told else self.results[number].verdict

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all answers and verdicts by number; without times, usage or latency."""
        content = hashlib.sha256()
        for number in sorted(self.answers):
            answer = self.answers[number]
            code = answer.error and [answer.error.code, answer.error.status]
            content.update(orjson.dumps(["answer", number, answer.turns, code]))
        for number in sorted(self.results):
            verdict = self.verdict(number)
            read = verdict and [getattr(verdict, name) for name in _READ]
            status = self.results[number].status.value
            content.update(orjson.dumps(["review", number, status, read]))
        return content.hexdigest()

    def judge_of(self, unit: ReviewUnit) -> str:
        """Return the name of whoever judged; a grader by rule has that of its kind."""
        return judge_name(self.plan, unit)

    def _review(self, number: int) -> Review:
        unit = self.plan.review(number)
        question = self.plan.questions[unit.question]
        verdict = self.verdict(number)
        human = number in self.overrides
        first = self.results[number].verdict if human else None
        return Review(
            question=question.id or "",
            category=question.category,
            language=question.language,
            dimension=self.spec.dimension_names[unit.dimension],
            judge=self.judge_of(unit),
            repeat=unit.repeat,
            lineup=tuple(self.plan.candidates[place].name for place in unit.lineup),
            ranks=_ranks(verdict),
            scores=tuple(verdict.scores) if verdict and verdict.scores else None,
            passed=verdict.passed if verdict else None,
            human=human,
            replaced_ranks=_ranks(first),
            replaced_scores=tuple(first.scores) if first and first.scores else None,
            model_version=self.results[number].model_version or None,
        )

    def _answer_row(self, number: int, answer: StoredAnswer) -> AnswerRow:
        unit = self.plan.answer(number)
        question = self.plan.questions[unit.question]
        return AnswerRow(
            question=question.id or "",
            category=question.category,
            language=question.language,
            candidate=self.plan.candidates[unit.candidate].name,
            text="\n\n".join(answer.turns),
            references=tuple(question.references or ()),
            asked=question.text,
            turns=answer.turns,
            seconds=answer.seconds,
            tokens=answer.usage.completion_tokens,
        )


def judge_name(plan: Plan, unit: ReviewUnit) -> str:
    """Return the name of whoever judges a review."""
    own = len(plan.spec.dimensions)
    if unit.dimension < own:
        return plan.judges[unit.judge].model
    grader = plan.spec.graders[unit.dimension - own]
    return grader.model or grader.type


def _ranks(verdict: Verdict | None) -> tuple[int, ...] | None:
    if verdict is None or not verdict.decoded:
        return None
    if verdict.ranks is not None:
        return tuple(verdict.ranks)
    # Who is judged alone is first, whatever the grade is.
    scores: list[Any] = verdict.scores or [0]
    return tuple(ranks_of(scores))
