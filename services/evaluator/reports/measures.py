"""The figures that a candidate is ranked by: how each is picked, named and written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from services.evaluator.reports import wording
from shared.protocol.evals.results import CandidateFigures, Figure, Scope
from shared.protocol.evals.spec import Mode


@dataclass(frozen=True, slots=True, kw_only=True)
class Notation:
    """How figures of one kind are named and written, and which way is better."""

    title: str
    digits: int = 2
    percent: bool = False
    lower_is_better: bool = False
    reference: float | None = None
    """Where neither side is ahead."""
    counted: bool = False
    """It rests on fewer verdicts than others beside it: on how many is told with it."""

    def text(self, figure: Figure | None) -> str:
        """Return a figure's value."""
        value = None if figure is None else figure.value
        if self.percent:
            return wording.share(value, self.digits)
        return wording.number(value, self.digits)

    def interval(self, figure: Figure | None) -> str:
        """Return its interval in brackets."""
        return wording.interval(figure, self.digits, percent=self.percent)

    def written(self, figure: Figure | None) -> str:
        """Return both, and the note."""
        parts = (self.text(figure), self.interval(figure), self.note(figure))
        return " ".join(part for part in parts if part)

    def note(self, figure: Figure | None) -> str:
        """Return on how many verdicts it rests, where that is to be told."""
        return f"n = {wording.count(figure.n)}" if self.counted and figure is not None else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure(Notation):
    """One figure of a candidate."""

    name: str
    """In machine-readable tables."""
    pick: Callable[[CandidateFigures], Figure | None]
    remark: str = ""
    """What a reader must know of it, beside its title."""


SHARE = Notation(title="Share", digits=1, percent=True, reference=0.5)
CONSISTENCY = Notation(title="Share", digits=1, percent=True)
PLAIN = Notation(title="Value")

RATING = Measure(name="rating", title="Rating", pick=lambda of: of.rating, digits=0, reference=1000)
BY_REVIEW = Measure(
    name="rating_by_review",
    title="Rating, by review",
    pick=lambda of: of.rating_by_review,
    digits=0,
    reference=1000,
)
CONTROLLED = Measure(
    name="rating_length_controlled",
    title="Rating, length-controlled",
    pick=lambda of: of.rating_length_controlled,
    digits=0,
    reference=1000,
)
NEWMAN = Measure(
    name="rating_newman",
    title="Rating, ties apart",
    pick=lambda of: of.rating_newman,
    digits=0,
    reference=1000,
    remark="Ratings with ties apart are Newman's: a tie is an outcome of its own there, and not "
    "half a win. They have no intervals, and nobody is placed by them.",
)
WIN_RATE = Measure(
    name="win_rate",
    title="Win rate",
    pick=lambda of: of.win_rate,
    digits=1,
    percent=True,
    reference=0.5,
)
STRICT = Measure(
    name="strict_win_rate",
    title="Win rate, orders agree",
    pick=lambda of: of.strict_win_rate,
    digits=1,
    percent=True,
    reference=0.5,
    counted=True,
    remark="Win rates where orders agree are of pairs that a judge saw in both orders with the "
    "same verdict, n of them; the others are of all verdicts.",
)
MEAN_RANK = Measure(
    name="mean_rank", title="Mean rank", pick=lambda of: of.mean_rank, lower_is_better=True
)
RANK_SCORE = Measure(name="rank_score", title="10 / rank", pick=lambda of: of.rank_score)
MEAN_SCORE = Measure(name="mean_score", title="Mean score", pick=lambda of: of.mean_score)

MEASURES = (
    *(RATING, BY_REVIEW, CONTROLLED, NEWMAN),
    *(WIN_RATE, STRICT, MEAN_SCORE, MEAN_RANK, RANK_SCORE),
)


def measures_in(scopes: list[Scope]) -> list[Measure]:
    """Return those for which some candidate has a value."""
    everyone = [each for scope in scopes for each in scope.candidates]
    return [measure for measure in MEASURES if any(_has(measure, each) for each in everyone)]


def leading_measure(mode: str, scopes: list[Scope]) -> Measure | None:
    """Return the one by which scopes of a run are shown beside each other."""
    order = {
        Mode.SCORING: (MEAN_SCORE, WIN_RATE, MEAN_RANK),
        Mode.ORDERING: (MEAN_RANK, WIN_RATE, MEAN_SCORE),
        Mode.PAIRWISE: (WIN_RATE, MEAN_RANK, MEAN_SCORE),
    }
    there = measures_in(scopes)
    known = order.get(Mode(mode), ()) if mode in set(Mode) else ()
    return next((measure for measure in (*known, *there) if measure in there), None)


def _has(measure: Measure, figures: CandidateFigures) -> bool:
    figure = measure.pick(figures)
    return figure is not None and figure.value is not None
