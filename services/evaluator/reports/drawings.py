"""The page's plots, each made of the figures that it shows."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from services.evaluator.reports import wording
from services.evaluator.reports.data import ReportData
from services.evaluator.reports.measures import CONSISTENCY, CONTROLLED, RATING, SHARE, Measure
from services.evaluator.reports.plots.forest import Entry, Forest, axis_for, forest
from services.evaluator.reports.plots.marks import stacked_bar
from services.evaluator.reports.plots.matrix import MatrixRow, win_matrix
from services.evaluator.reports.views import Breakdown, Ranking, View
from shared.protocol.evals.results import Results, Scope
from shared.protocol.evals.run import Usage


@dataclass(frozen=True, slots=True)
class Split:
    """What one bar is made of, and its parts in words."""

    name: str
    bar: Markup
    parts: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Drawings:
    """All plots of a page."""

    ranking: Forest | None
    controlled: bool
    """Whether the ranking shows length-controlled ratings too."""
    matrix: list[MatrixRow]
    breakdowns: list[tuple[Breakdown, list[Forest]]]
    position: Forest | None
    consistency: Forest | None
    length: Forest | None
    cost: list[Split]


def drawings_of(view: View, report: ReportData) -> Drawings:
    """Draw what the results hold."""
    ranking, leading = view.ranking, view.leading
    return Drawings(
        ranking=_ranking(ranking, leading) if ranking and leading else None,
        controlled=bool(ranking and CONTROLLED in ranking.measures),
        matrix=win_matrix(ranking.scope) if ranking and ranking.scope.pairs else [],
        breakdowns=[(each, _multiples(each)) for each in view.breakdowns],
        position=_position(report.results),
        consistency=_consistency(report.results),
        length=_length(report.results),
        cost=_cost(report.run.usage),
    )


def _ranking(ranking: Ranking, leading: Measure) -> Forest:
    """Draw ratings, raw and length-controlled; without any, the figure the mode asks for."""
    measure = RATING if RATING in ranking.measures else leading
    second = CONTROLLED if RATING in ranking.measures else None
    entries = [
        Entry(
            label=each.candidate,
            figure=measure.pick(each),
            second=second.pick(each) if second else None,
            note=ranking.aligned(each.candidate),
        )
        for each in ranking.scope.candidates
    ]
    return forest(measure.title, measure, entries)


def _multiples(breakdown: Breakdown) -> list[Forest]:
    """Draw one small plot a scope, all in one order of candidates and, if it fits, on one axis."""
    measure = breakdown.measure
    order = [each.candidate for each in breakdown.scopes[0][1].candidates]
    plots = [(name, scope, _entries(scope, measure, order)) for name, scope in breakdown.scopes]
    everything = [entry for _, _, entries in plots for entry in entries]
    axis = axis_for(measure, everything) if breakdown.one_axis else None
    return [
        forest(f"{name} (n = {wording.count(scope.reviews)})", measure, entries, axis)
        for name, scope, entries in plots
    ]


def _entries(scope: Scope, measure: Measure, order: list[str]) -> list[Entry]:
    place = {name: number for number, name in enumerate(order)}
    ordered = sorted(scope.candidates, key=lambda each: place.get(each.candidate, len(order)))
    return [Entry(each.candidate, measure.pick(each)) for each in ordered]


def _position(results: Results) -> Forest | None:
    entries = [Entry(each.judge, each.first_share) for each in results.position]
    return forest("Position", SHARE, entries) if entries else None


def _consistency(results: Results) -> Forest | None:
    several = len(results.position) > 1
    entries = [
        Entry(f"{each.judge}: {name}" if several else name, figure)
        for each in results.position
        for name, figure in (
            ("same verdict", each.consistent),
            ("the other one won", each.reversed),
        )
        if figure is not None
    ]
    return forest("Consistency", CONSISTENCY, entries) if entries else None


def _length(results: Results) -> Forest | None:
    entries = [
        Entry(each.dimension or "all dimensions", each.longer_share) for each in results.length
    ]
    return forest("Length", SHARE, entries) if entries else None


def _cost(usage: Usage) -> list[Split]:
    answers, judge = usage.answers, usage.judge
    splits = (
        ("Cost", [answers.cost_usd, judge.cost_usd], wording.money),
        (
            "Tokens",
            [each.prompt_tokens + each.completion_tokens for each in (answers, judge)],
            wording.count,
        ),
        ("Calls", [answers.calls, judge.calls], wording.count),
    )
    return [
        Split(
            name,
            stacked_bar(parts),
            list(zip(("answers", "judge"), map(written, parts), strict=True)),
        )
        for name, parts, written in splits
        if sum(parts)
    ]
