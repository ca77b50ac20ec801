"""How a unit ends: what its script is told when it is committed, put back or spread out.

Owns the arguments of these scripts, made once a unit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from services.evaluator.jobs.connection import Script
from services.evaluator.jobs.plan import Plan
from services.evaluator.jobs.records import StoredAnswer, StoredResult
from services.evaluator.jobs.scripts.work import (
    COMMIT,
    POSTPONE,
    SPREAD_QUESTIONS,
    SPREAD_REVIEWS,
)
from services.evaluator.jobs.states import ANSWERED, ERRORED, FAILED, PASSED, letter_of
from services.evaluator.jobs.work import Unit
from shared.protocol.evals.item import ItemStatus

_COMMIT, _POSTPONE = Script(COMMIT), Script(POSTPONE)
_SPREAD_QUESTIONS, _SPREAD_REVIEWS = Script(SPREAD_QUESTIONS), Script(SPREAD_REVIEWS)
SCRIPTS = (_COMMIT, _POSTPONE, _SPREAD_QUESTIONS, _SPREAD_REVIEWS)
_UNITS_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class End:
    """The script that ends a unit, with its arguments behind the run's names."""

    script: Script
    values: tuple[Any, ...]


def answered(plan: Plan, unit: Unit, answer: StoredAnswer, used: list[tuple[str, int]]) -> End:
    """Return the commit of an answer; `used` is what its calls add to the run's counters."""
    failed = answer.error is not None
    counters: list[tuple[str, int]] = [("answer_errors" if failed else "answered", 1), *used]
    told = b""
    if not plan.reviews:
        counters.append(("errored" if failed else "judged", 1))
        told = _told(unit.number, ItemStatus.ERRORED if failed else ItemStatus.JUDGED)
    question = plan.answer(unit.number).question
    answers, reviews = plan.answers_of(question), plan.reviews_of(question)
    return End(
        _COMMIT,
        (
            *(unit.entry, unit.stream, unit.name, unit.number, ERRORED if failed else ANSWERED),
            *(answer.encode(), told, answers.start, answers.stop - 1),
            *(reviews.start, reviews.stop - 1),
            *(part for pair in counters for part in pair),
        ),
    )


def reviewed(unit: Unit, result: StoredResult, used: list[tuple[str, int]]) -> End:
    """Return the commit of a review."""
    errored = result.status is ItemStatus.ERRORED
    letter = ERRORED if errored else letter_of(result.verdict)
    counters: list[tuple[str, int]] = [(result.status.value, 1), *used]
    if letter in {PASSED, FAILED}:
        counters.append(("passed" if letter == PASSED else "failed", 1))
    return End(
        _COMMIT,
        (
            *(unit.entry, unit.stream, unit.name, unit.number, letter),
            *(result.encode(), _told(unit.number, result.status), -1, 0, 0, 0),
            *(part for pair in counters for part in pair),
        ),
    )


def postponed(plan: Plan, unit: Unit) -> End:
    """Return the end of a review whose answers are not there."""
    answers = plan.answers_of(plan.review(unit.number).question)
    values = (unit.entry, unit.stream, unit.number, answers.start, answers.stop - 1)
    return End(_POSTPONE, values)


def spread(plan: Plan, unit: Unit) -> End:
    """Return the end of a unit that stands for many: some of them come into the stream."""
    if unit.kind == "x":
        last = int(unit.name.partition("-")[2])
        return End(_SPREAD_REVIEWS, (unit.entry, unit.stream, unit.number, last))
    count, first = len(plan.questions), unit.number
    stop, units = first, 0
    while stop < count and stop - first < _UNITS_AT_ONCE and units < _UNITS_AT_ONCE:
        units += max(len(plan.answers_of(stop)), len(plan.reviews_of(stop)))
        stop += 1
    starts = [plan.reviews_of(question).start for question in range(first, stop)]
    starts.append(plan.reviews_of(stop - 1).stop if stop > first else 0)
    width = len(plan.candidates)
    values = (unit.entry, unit.stream, width, count, first, stop, *starts)
    return End(_SPREAD_QUESTIONS, values)


def _told(number: int, status: ItemStatus) -> bytes:
    return b'{"id":"item_%d","status":"%s"}' % (number, status.value.encode())
