"""What a run consists of, counted and never listed: answers and reviews by number.

Pure: the same spec gives the same plan at every start and in every evaluator, so Redis holds
numbers alone. Answers count by question, then candidate; reviews by question, then dimension,
judge, line-up and repeat.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate, combinations

from shared.protocol.evals.run import Candidate, RunSpec
from shared.protocol.evals.spec import EvalSpec, Filter, Judge, Mode, Question, Swap


@dataclass(frozen=True, slots=True)
class AnswerUnit:
    """One question to one candidate."""

    question: int
    candidate: int


@dataclass(frozen=True, slots=True)
class ReviewUnit:
    """One look of a judge at answers to one question."""

    question: int
    dimension: int
    """Its place in `EvalSpec.dimension_names`."""
    judge: int
    """Its place among the judges; 0 for a grader, which names its own."""
    lineup: tuple[int, ...]
    """Candidates in the order that the judge sees."""
    repeat: int


class Plan:
    """The units of one run."""

    def __init__(self, spec: EvalSpec, run: RunSpec) -> None:
        """Count them."""
        self.spec = spec
        self.questions: list[Question] = (
            run.questions if run.questions is not None else spec.questions
        )
        self.candidates: list[Candidate] = run.candidates
        self.judges: list[Judge] = spec.judges if run.judges is None else run.judges
        self._own = len(spec.dimensions)
        self._lineups = _lineups(spec, run.candidates)
        self._solo = [(place,) for place in range(len(run.candidates))]
        counts = [
            sum(len(self._looks(dimension)) for dimension in self._applying(question))
            for question in self.questions
        ]
        self._starts = [0, *accumulate(counts)]

    @property
    def answers(self) -> int:
        """Return how many answers there are, asked for or given."""
        return len(self.questions) * len(self.candidates)

    @property
    def reviews(self) -> int:
        """Return how many reviews there are."""
        return self._starts[-1]

    def answer(self, number: int) -> AnswerUnit:
        """Return one answer's question and candidate."""
        return AnswerUnit(*divmod(number, len(self.candidates)))

    def answer_number(self, question: int, candidate: int) -> int:
        """Return the number of an answer."""
        return question * len(self.candidates) + candidate

    def answers_of(self, question: int) -> range:
        """Return the numbers of a question's answers."""
        start = question * len(self.candidates)
        return range(start, start + len(self.candidates))

    def reviews_of(self, question: int) -> range:
        """Return the numbers of a question's reviews."""
        return range(self._starts[question], self._starts[question + 1])

    def review(self, number: int) -> ReviewUnit:
        """Return what one review is about."""
        question = bisect_right(self._starts, number) - 1
        place = number - self._starts[question]
        for dimension in self._applying(self.questions[question]):
            looks = self._looks(dimension)
            if place < len(looks):
                judge, lineup, repeat = looks[place]
                return ReviewUnit(question, dimension, judge, lineup, repeat)
            place -= len(looks)
        msg = f"there is no review {number}"
        raise IndexError(msg)

    def _applying(self, question: Question) -> list[int]:
        """Return the dimensions that apply to a question."""
        names = self.spec.dimension_names
        return [
            place
            for place, name in enumerate(names)
            if _fits(self.spec.applies_to.get(name), question)
        ]

    def _looks(self, dimension: int) -> list[tuple[int, tuple[int, ...], int]]:
        """Return judge, line-up and repeat of each review of a dimension."""
        own = dimension < self._own
        judges = range(len(self.judges)) if own else range(1)
        lineups = self._lineups if own else self._solo
        repeats = range(self.spec.repeats if own else 1)
        return [(judge, lineup, rep) for judge in judges for lineup in lineups for rep in repeats]


def _fits(rule: Filter | None, question: Question) -> bool:
    if rule is None:
        return True
    category = rule.category is None or question.category in rule.category
    language = rule.language is None or question.language in rule.language
    return category and language


def _lineups(spec: EvalSpec, candidates: list[Candidate]) -> list[tuple[int, ...]]:
    """Return in which orders candidates are shown together."""
    everyone = range(len(candidates))
    if spec.mode is Mode.SCORING and spec.alone:
        return [(place,) for place in everyone]
    if spec.mode is not Mode.PAIRWISE:
        return _orders(tuple(everyone), spec.swap)
    names = [candidate.name for candidate in candidates]
    pairs = combinations(everyone, 2)
    if spec.baseline in names:
        base = names.index(spec.baseline)
        pairs = ((base, other) for other in everyone if other != base)
    return [order for pair in pairs for order in _orders(pair, spec.swap)]


def _orders(group: tuple[int, ...], swap: Swap) -> list[tuple[int, ...]]:
    if swap is Swap.NONE or len(group) == 1:
        return [group]
    if swap is Swap.BOTH:
        return [group, group[::-1]]
    return [group[shift:] + group[:shift] for shift in range(len(group))]
