"""What a run consists of, counted and never listed: answers and reviews by number.

Pure: the same spec gives the same plan at every start and in every evaluator, so Redis holds
numbers alone. Answers count by question, then candidate; reviews by question, then dimension,
judge, line-up and repeat. Of a run whose reviews are given, these alone count, as they are
listed.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, combinations

from shared.errors import InvalidSpec
from shared.protocol.evals.run import Candidate, GivenReview, RunSpec
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
        """Count them. Raises InvalidSpec if a given review is about nothing of this run."""
        self.spec = spec
        self.questions: Sequence[Question] = (
            run.questions if run.questions is not None else spec.questions
        )
        self.candidates: list[Candidate] = run.candidates
        self.judges: list[Judge] = spec.judges if run.judges is None else run.judges
        own = len(spec.dimensions)
        names = spec.dimension_names
        lineups = _lineups(spec, run.candidates)
        solo = [(place,) for place in range(len(run.candidates))]
        self._rules = [spec.applies_to.get(name) for name in names]
        self._looks = [
            _looks(lineups, len(self.judges), spec.repeats) if place < own else _looks(solo, 1, 1)
            for place in range(len(names))
        ]
        # Numbers in arrays: a run may have half a million reviews.
        self._applying: list[list[int]] = []
        self._kinds = array("I")
        self._given: _GivenUnits | None = None
        if run.reviews is None:
            self._kinds.extend(self._kinds_of_questions())
            counts = (self._count(kind) for kind in self._kinds)
        else:
            self.judges = _with_given(self.judges, run.reviews)
            self._given = _GivenUnits(self, run.reviews)
            counts = self._given.counts
        self._starts = array("I", chain([0], accumulate(counts)))

    @property
    def given(self) -> bool:
        """Return whether the run brings its reviews."""
        return self._given is not None

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
        if self._given is not None:
            return self._given.unit(question, number)
        place = number - self._starts[question]
        for dimension in self._applying[self._kinds[question]]:
            looks = self._looks[dimension]
            if place < len(looks):
                judge, lineup, repeat = looks[place]
                return ReviewUnit(question, dimension, judge, lineup, repeat)
            place -= len(looks)
        msg = f"there is no review {number}"
        raise IndexError(msg)

    def given_place(self, number: int) -> int:
        """Return the place in `RunSpec.reviews` of the review of a run that has them."""
        assert self._given is not None
        return self._given.place(number)

    def _kinds_of_questions(self) -> Iterator[int]:
        """Yield for each question which of the lists of dimensions is the one that applies."""
        known: dict[tuple[str | None, str | None], int] = {}
        for question in self.questions:
            kind = (question.category, question.language)
            if kind not in known:
                known[kind] = len(self._applying)
                self._applying.append(
                    [place for place, rule in enumerate(self._rules) if fits(rule, *kind)]
                )
            yield known[kind]

    def _count(self, kind: int) -> int:
        return sum(len(self._looks[dimension]) for dimension in self._applying[kind])


class _GivenUnits:
    """The given reviews of a run, numbered by question, and in a question as they are listed."""

    def __init__(self, plan: Plan, reviews: Sequence[GivenReview]) -> None:
        """Look at each. Raises InvalidSpec."""
        self._reviews = reviews
        self._dimensions = {name: place for place, name in enumerate(plan.spec.dimension_names)}
        self._judges = {judge.model: place for place, judge in enumerate(plan.judges)}
        self._candidates = {each.name: place for place, each in enumerate(plan.candidates)}
        questions = {question.id: place for place, question in enumerate(plan.questions)}
        places = array("I")
        for place, review in enumerate(reviews):
            try:
                places.append(questions[review.question_id])
                self._unit(0, review)
            except KeyError as fault:
                text = f"{fault.args[0]!r} is nothing of this run"
                raise InvalidSpec([(f"/reviews/{place}", text)]) from None
        self._order = array("I", sorted(range(len(places)), key=places.__getitem__))
        self.counts = array("I", bytes(4 * len(questions)))
        """By question."""
        for place in places:
            self.counts[place] += 1

    def place(self, number: int) -> int:
        """Return where in the list a review stands."""
        return self._order[number]

    def unit(self, question: int, number: int) -> ReviewUnit:
        """Return what a review is about."""
        return self._unit(question, self._reviews[self._order[number]])

    def _unit(self, question: int, review: GivenReview) -> ReviewUnit:
        return ReviewUnit(
            question=question,
            dimension=self._dimensions[review.dimension],
            judge=self._judges[review.judge],
            lineup=tuple(self._candidates[name] for name in review.lineup),
            repeat=review.repeat,
        )


def _looks(
    lineups: list[tuple[int, ...]], judges: int, repeats: int
) -> list[tuple[int, tuple[int, ...], int]]:
    """Return judge, line-up and repeat of each review of a dimension."""
    return [
        (judge, lineup, repeat)
        for judge in range(judges)
        for lineup in lineups
        for repeat in range(repeats)
    ]


def _with_given(judges: list[Judge], reviews: Sequence[GivenReview]) -> list[Judge]:
    """Return the judges and those that only given reviews name."""
    known = {judge.model for judge in judges}
    more = dict.fromkeys(review.judge for review in reviews if review.judge not in known)
    return [*judges, *(Judge(model=name) for name in more)]


def fits(rule: Filter | None, category: str | None, language: str | None) -> bool:
    """Return whether a dimension with this rule applies to a question of this kind."""
    if rule is None:
        return True
    return (rule.category is None or category in rule.category) and (
        rule.language is None or language in rule.language
    )


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
