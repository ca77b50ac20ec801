"""Which verdicts are about the same, by different sources: what agreement is counted of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from services.evaluator.analysis.agreement import Agreement, Between, Look, agreement_of
from services.evaluator.analysis.bootstrap import Bootstrap
from services.evaluator.analysis.composite import Scale, one_scale
from services.evaluator.analysis.rows import Review
from services.evaluator.analysis.table import Table
from services.evaluator.ranks import ranks_of

Key = tuple[str | int | tuple[str, ...], ...]


def agreements(
    table: Table, said: Sequence[Review], bootstrap: Bootstrap, scales: Mapping[str, Scale]
) -> list[Agreement]:
    """Return how far judges, dimensions, and each judge with itself and with people agree.

    `said` are the verdicts as they came, before those on single answers were joined.
    """
    reviews = [review for review in table.reviews if review.ranks is not None]
    numbers = {name: number for number, name in enumerate(table.questions)}
    found = [
        _between("judges", reviews, numbers, bootstrap, (lambda each: each.judge, _but_judge)),
        _between(
            "dimensions",
            _comparable(_of_widest_dimensions(reviews), scales),
            numbers,
            bootstrap,
            (lambda each: each.dimension, _but_dimension),
        ),
    ]
    for judge in dict.fromkeys(review.judge for review in said):
        own = [review for review in reviews if review.judge == judge]
        changed = _overridden(said, judge, numbers)
        both = (
            _between("repeats", own, numbers, bootstrap, (lambda each: each.repeat, _but_repeat)),
            agreement_of("humans", [judge, "human"], changed, bootstrap),
        )
        found += [each and each.model_copy(update={"judge": judge}) for each in both]
    return [each for each in found if each is not None]


def _between(
    between: Between,
    reviews: Sequence[Review],
    numbers: dict[str, int],
    bootstrap: Bootstrap,
    told_apart: tuple[Callable[[Review], str | int], Callable[[Review], Key]],
) -> Agreement | None:
    """Return the agreement of sources on verdicts that are about the same otherwise."""
    source, about = told_apart
    sources = list(dict.fromkeys(source(review) for review in reviews))
    place = {name: column for column, name in enumerate(sources)}
    groups: dict[Key, list[Review | None]] = {}
    for review in reviews:
        row = groups.setdefault(about(review), [None] * len(sources))
        row[place[source(review)]] = review
    looks = (_look(numbers, row) for row in groups.values())
    return agreement_of(between, [str(name) for name in sources], looks, bootstrap)


def _look(numbers: dict[str, int], row: Sequence[Review | None]) -> Look:
    present = [review for review in row if review is not None]
    scored = all(review.scores is not None for review in present)
    return Look(
        question=numbers[present[0].question],
        values=tuple(
            None if review is None else _numbers(review.scores if scored else review.ranks)
            for review in row
        ),
        ranks=tuple(None if review is None else review.ranks for review in row),
    )


def _overridden(reviews: Sequence[Review], judge: str, numbers: dict[str, int]) -> Iterator[Look]:
    """Return what the judge had said and what a person says of each review that was changed."""
    for review in reviews:
        before, scores = review.replaced_ranks, review.replaced_scores
        if review.judge != judge or not review.human or review.ranks is None:
            continue
        if before is None and scores is not None:
            before = tuple(ranks_of(scores))
        if before is None:
            continue
        both = review.scores is not None and scores is not None
        yield Look(
            question=numbers[review.question],
            values=(
                _numbers(scores if both else before),
                _numbers(review.scores if both else review.ranks),
            ),
            ranks=(before, review.ranks),
        )


def _of_widest_dimensions(reviews: Sequence[Review]) -> list[Review]:
    """Return the reviews of dimensions that judge more than half as many questions as the widest.

    One that is for a few questions only would be compared on other ones than the rest.
    """
    asked: dict[str, set[str]] = {}
    for review in reviews:
        asked.setdefault(review.dimension, set()).add(review.question)
    most = max((len(questions) for questions in asked.values()), default=0)
    wide = {name for name, questions in asked.items() if 2 * len(questions) > most}
    return [review for review in reviews if review.dimension in wide]


def _comparable(reviews: Sequence[Review], scales: Mapping[str, Scale]) -> Sequence[Review]:
    """Return the reviews without scores if their dimensions have different scales."""
    if one_scale({review.dimension for review in reviews}, scales):
        return reviews
    return [replace(review, scores=None) for review in reviews]


def _numbers(values: Sequence[float] | None) -> tuple[float, ...] | None:
    return None if values is None else tuple(float(value) for value in values)


def _but_judge(review: Review) -> Key:
    return (review.question, review.dimension, review.repeat, review.lineup)


def _but_repeat(review: Review) -> Key:
    return (review.question, review.dimension, review.judge, review.lineup)


def _but_dimension(review: Review) -> Key:
    return (review.question, review.judge, review.repeat, review.lineup)
