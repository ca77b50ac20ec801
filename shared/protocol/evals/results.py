"""What statistics say of a run. Every figure carries how many verdicts it rests on."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from shared.protocol.evals.base import Told
from shared.protocol.evals.run import Usage


class Interval(Told):
    """A 95 % confidence interval."""

    low: float
    high: float


class Figure(Told):
    """A number with its interval, the verdicts it rests on and those that could not be read."""

    value: float | None
    interval: Interval | None = None
    n: int = 0
    undecoded: int = 0


class CandidateFigures(Told):
    """How one candidate did in one scope."""

    candidate: str
    mean_rank: Figure
    rank_score: Figure = Field(description="mean of 10 / rank")
    mean_score: Figure | None = Field(
        default=None, description="of scores; none where dimensions have different scales"
    )
    win_rate: Figure = Field(
        description="of pairs, ties count half; those of one review of n weigh 1 / (n - 1) each"
    )
    strict_win_rate: Figure | None = Field(
        default=None,
        description="the same of pairs with one verdict in both orders; n is of such pairs, and "
        "there is none where no pair was judged in both",
    )
    wins: float = Field(description="pairs")
    ties: float
    losses: float
    rating: Figure | None = Field(
        description="Bradley-Terry, mean 1000, 400 / log 10 a unit; each pair counts once"
    )
    rating_by_review: Figure | None = Field(
        default=None,
        description="the same of pairs that weigh 1 / (n - 1), where line-ups differ in size",
    )
    rating_length_controlled: Figure | None = None
    rating_newman: Figure | None = Field(
        default=None,
        description="Newman's, on the scale of `rating`: ties are an outcome of their own; no "
        "interval, and none where nothing tied or wins alone do not link everybody both ways",
    )
    mean_length: float = Field(description="characters of its answers")


class PairFigures(Told):
    """Two candidates beside each other: the paired difference over questions."""

    first: str
    second: str
    wins: float
    ties: float
    losses: float
    difference: Figure = Field(description="mean of wins minus losses of the first, -1 to 1")
    p: float = Field(description="signs of whole questions exchanged")
    p_holm: float = Field(description="after Holm, among the pairs of the scope")
    separable: bool


class Scope(Told):
    """A part of the reviews: one dimension (or all), one category, one language."""

    dimension: str | None
    category: str | None
    language: str | None
    judge: str | None
    questions: int
    reviews: int
    undecoded: int
    candidates: list[CandidateFigures] = Field(description="best first")
    pairs: list[PairFigures]
    groups: list[list[str]] = Field(
        description="within one no two are separable, and two that are not share one; best first"
    )


class PositionBias(Told):
    """Whether the place in the line-up decides, by judge."""

    judge: str
    first_share: Figure = Field(description="decided pairs won by whoever stood before the other")
    consistent: Figure | None = Field(description="pairs with one verdict in both orders")
    reversed: Figure | None = Field(description="pairs whose winner changed with the order")
    strict_ties: int | None = Field(
        default=None, description="pairs that are ties if only agreement counts"
    )
    coefficient: Figure | None = Field(
        default=None, description="log-odds for who stands first, from pairs seen in both orders"
    )


class LengthBias(Told):
    """Whether the longer answer wins, by dimension."""

    dimension: str | None
    longer_share: Figure
    coefficient: Figure | None = Field(description="of tanh of the standardised length difference")
    markdown: Figure | None = Field(
        default=None, description="the same of headings, list items, bold and code, beside length"
    )


class Agreement(Told):
    """How far two sources of verdicts agree (Krippendorff's alpha, ordinal)."""

    between: Literal["judges", "humans", "repeats", "dimensions"]
    names: list[str]
    judge: str | None = Field(
        default=None, description="whose verdicts: of repeats, and of what people changed"
    )
    alpha: Figure
    same_winner: Figure | None = Field(default=None, description="pairs with the same outcome")
    kappa: Figure | None = Field(default=None, description="Cohen's, of pairs, where two agree")


class AnswerMetrics(Told):
    """Metrics of one candidate's answers that need no judge; by metric's name."""

    candidate: str
    language: str | None
    answers: int
    values: dict[str, Figure]


class ResultWarning(Told):
    """What a reader of the figures must know."""

    code: str
    text: str


class Results(Told):
    """All figures of a run."""

    object: Literal["eval.run.results"] = "eval.run.results"
    run_id: str
    eval_id: str
    digest: str = Field(description="SHA-256 of all verdicts: equal ones have equal figures")
    complete: bool
    mode: str
    seed: int
    resamples: int
    scopes: list[Scope] = Field(description="overall first, then by dimension, category, language")
    composite: list[tuple[str, float]] = Field(
        default=[],
        description="weighted mean of win rates, or of scores from 0 to 1; best first",
    )
    weights: dict[str, float] = {}
    scales: dict[str, tuple[float, float]] = Field(
        default={}, description="the lowest and the highest score of each dimension"
    )
    position: list[PositionBias] = []
    length: list[LengthBias] = []
    agreement: list[Agreement] = []
    answers: list[AnswerMetrics] = []
    warnings: list[ResultWarning] = []
    usage: Usage = Usage()


class Comparison(Told):
    """Two runs beside each other, paired by question."""

    object: Literal["eval.run.comparison"] = "eval.run.comparison"
    run_id: str
    other_run_id: str
    metric: Literal["mean_score", "win_rate"] = "win_rate"
    questions: int = Field(description="that both have")
    rows: list[ComparisonRow]


class ComparisonRow(Told):
    """One candidate in one dimension; the difference is after minus before."""

    candidate: str
    dimension: str | None
    before: Figure
    after: Figure
    difference: Figure
    p: float
    p_holm: float
    separable: bool


class RunEvent(Told):
    """What `GET …/events` sends; `id` is Redis's stream id."""

    id: str
    event: Literal["progress", "item", "warning", "done"]
    data: dict[str, object]


Comparison.model_rebuild()
