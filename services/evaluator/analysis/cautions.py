"""What a reader of the figures must know: each caution is a code and a sentence."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from services.evaluator.analysis.options import AnalysisOptions
from services.evaluator.analysis.rows import AnswerRow, Review
from services.evaluator.analysis.scopes import Counted
from shared.protocol.evals.results import CandidateFigures, PositionBias, ResultWarning, Scope

_FEW = 30
_MOST_UNDECODED = 0.01
_LEAST_ANSWERS = 5
_SATURATED = 0.95
_SAME_FAMILY = {"chatgpt": "gpt", "o": "gpt", "text-davinci": "gpt", "qwq": "qwen"}


def cautions(
    reviews: Sequence[Review],
    answers: Sequence[AnswerRow],
    options: AnalysisOptions,
    counted: Sequence[Counted],
    position: Sequence[PositionBias],
) -> Iterator[ResultWarning]:
    """Return all cautions that apply, the gravest kinds first."""
    if not options.complete:
        yield _caution("incomplete", "the run is not complete: figures are of what is there so far")
    if options.errored:
        text = f"items without a verdict, since a call failed: {options.errored}"
        yield _caution("errored", text)
    if counted:
        yield from _undecoded(counted[0].scope)
    yield from _judges(reviews, options)
    yield from _constant(answers)
    if counted:
        yield from _scopes(counted)
        yield from _saturation(counted[0].scope, options.baseline)
    yield from _orders(reviews, position)


def _undecoded(scope: Scope) -> Iterator[ResultWarning]:
    lost = scope.undecoded
    if lost > _MOST_UNDECODED * scope.reviews:
        share = f"{lost} of {scope.reviews} reviews ({lost / scope.reviews:.1%})"
        yield _caution("undecoded", f"{share} hold no readable verdict; they are in no figure")


def _judges(reviews: Sequence[Review], options: AnalysisOptions) -> Iterator[ResultWarning]:
    candidates = dict.fromkeys(name for review in reviews for name in review.lineup)
    models: Mapping[str, str] = {name: options.models.get(name, name) for name in candidates}
    versions: dict[str, set[str]] = {}
    for review in reviews:
        own = versions.setdefault(review.judge, set())
        if review.model_version is not None:
            own.add(review.model_version)
    for judge, told in versions.items():
        kin = [name for name, model in models.items() if family(model) == family(judge) != ""]
        if kin:
            text = f"judge {judge} is of the same family as {_list(kin)}: it may favour its own"
            yield _caution("judge_family", text)
        if len(told) > 1:
            text = f"judge {judge} changed during the run: {_list(sorted(told))}"
            yield _caution("judge_changed", text)


def family(model: str) -> str:
    """Return the letters that a model's name begins with, without its owner; empty if none."""
    name = model.rstrip("/").rsplit("/", 1)[-1].lower()
    found = re.match(r"text-davinci|[^\W\d_]+", name)
    word = found.group() if found else ""
    return _SAME_FAMILY.get(word, word)


def _constant(answers: Sequence[AnswerRow]) -> Iterator[ResultWarning]:
    texts: dict[str, Counter[str]] = {}
    for answer in answers:
        texts.setdefault(answer.candidate, Counter())[answer.text.strip()] += 1
    for candidate, counts in texts.items():
        same, total = counts.most_common(1)[0][1], counts.total()
        if total >= _LEAST_ANSWERS and 2 * same > total:
            text = f"{same} of {total} answers of {candidate} are the same text"
            yield _caution("constant_answers", text)


def _scopes(counted: Sequence[Counted]) -> Iterator[ResultWarning]:
    overall = counted[0]
    if overall.scope.questions < _FEW:
        text = (
            f"{overall.scope.questions} questions only: intervals are wide and rough below {_FEW}"
        )
        yield _caution("few_questions", text)
    few = [
        each.scope.dimension
        for each in counted[1:]
        if each.key.plain and each.scope.questions < _FEW <= overall.scope.questions
    ]
    if few:
        names = _list([name for name in few if name is not None])
        yield _caution("few_questions", f"fewer than {_FEW} questions in dimensions: {names}")
    steadied = [each for each in counted if each.steadied]
    if steadied:
        text = (
            f"in {len(steadied)} of {len(counted)} parts of the reviews somebody never lost, or "
            "never won, against the rest, or was never compared with them: one imaginary review "
            "in which all tie keeps the ratings there finite, and their intervals show too little"
        )
        yield _caution("rating_steadied", text)
    if not overall.one_scale and any(each.mean_score for each in _scored(counted)):
        text = (
            "dimensions have different scales: there is no mean score of them together; the "
            "composite puts each on a scale from 0 to 1"
        )
        yield _caution("mixed_scales", text)
    if overall.mixed:
        text = (
            "line-ups differ in size: `rating` counts each pair once, `rating_by_review` gives "
            "pairs of a review of n the weight 1 / (n - 1), as win rates do"
        )
        yield _caution("mixed_lineups", text)


def _scored(counted: Sequence[Counted]) -> Iterator[CandidateFigures]:
    return (figures for each in counted for figures in each.scope.candidates)


def _saturation(scope: Scope, baseline: str | None) -> Iterator[ResultWarning]:
    """Tell where there is no room left to differ in."""
    for figures in scope.candidates:
        rate = figures.win_rate.value
        if rate is None or scope.questions < _LEAST_ANSWERS:
            continue
        if figures.candidate == baseline and not 1 - _SATURATED <= rate <= _SATURATED:
            side = "wins" if rate > _SATURATED else "loses"
            text = f"the baseline {baseline} {side} nearly always: it no longer tells others apart"
            yield _caution("baseline_saturated", text)
    ties = sum(figures.ties for figures in scope.candidates)
    met = ties + sum(figures.wins + figures.losses for figures in scope.candidates)
    if met and ties > _SATURATED * met:
        yield _caution("mostly_ties", f"{ties / met:.0%} of all pairs are ties")


def _orders(reviews: Sequence[Review], position: Sequence[PositionBias]) -> Iterator[ResultWarning]:
    compared = {review.judge for review in reviews if len(review.lineup) > 1}
    single = [each.judge for each in position if each.consistent is None and each.judge in compared]
    if single:
        text = (
            f"judge {_list(single)} saw no answers in both orders: a preference for a place "
            "in the line-up cannot be told from quality"
        )
        yield _caution("one_order", text)


def _caution(code: str, text: str) -> ResultWarning:
    return ResultWarning(code=code, text=text)


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"  # noqa: PLR2004
