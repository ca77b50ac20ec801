"""A report as Markdown, for a paper's appendix or a comment on a change.

Names and messages are text: nothing in them becomes a link, a mention, a table cell or HTML.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from services.evaluator.reports import wording
from services.evaluator.reports.answer_metrics import answer_table
from services.evaluator.reports.data import ReportData
from services.evaluator.reports.judge_cards import JudgeCard
from services.evaluator.reports.measures import PLAIN, SHARE
from services.evaluator.reports.views import Breakdown, Ranking, View, figures_of, view_of
from shared.protocol.evals.results import Results, Scope
from shared.protocol.evals.run import CallUsage

_ACTIVE = re.compile(r"([\\`*_|~$]|\](?=[(\[:]))")
_ENTITIES = str.maketrans({sign: f"&#{ord(sign)};" for sign in "&<>@#"})
_LINK = re.compile(r"://|\b(?=www\.)", re.IGNORECASE)
_BLOCK = re.compile(r"^(\d+(?=[.)](?:\s|$))|(?=[-+=]))")

Rows = Iterable[Sequence[str]]


def markdown_report(report: ReportData) -> str:
    """Return the whole report."""
    view = view_of(report)
    results = report.results
    parts = [f"# {escape(view.title)}", *_warnings(view), _facts(view)]
    if view.ranking:
        parts += ["## Ranking", *_ranking(view.ranking), *_composite(view, results)]
        parts += ["## Pairs", _pairs(view.ranking.scope)]
    parts += [part for each in view.breakdowns for part in _breakdown(each)]
    parts += [*_bias(results), *_judges(view.cards, results), *_answers(results)]
    parts += ["## Cost", _cost(report), _method(results)]
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Return a text as one line that Markdown shows as it is."""
    line = " ".join(text.split())
    line = _ACTIVE.sub(r"\\\1", line.translate(_ENTITIES))
    line = _LINK.sub(lambda found: found.group().replace(":", "&#58;") or "&#8203;", line)
    return _BLOCK.sub(r"\1\\", line)


def _table(heads: Sequence[str], rows: Rows, left: int = 1) -> str:
    """Return a table; the first `left` columns are texts, the others numbers."""
    rule = [":---" if place < left else "---:" for place in range(len(heads))]
    lines = [heads, rule, *([escape(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _warnings(view: View) -> list[str]:
    if not view.warnings:
        return []
    return ["\n".join(f"> **Warning:** {escape(text)}  " for text in view.warnings)]


def _facts(view: View) -> str:
    return _table(("Fact", "Value"), view.facts, left=2)


def _ranking(ranking: Ranking) -> list[str]:
    titles = [measure.title for measure in ranking.measures]
    rows = [
        [str(place), each.candidate, ranking.letters.get(each.candidate, "")]
        + [measure.written(measure.pick(each)) for measure in ranking.measures]
        + [_record(each.wins, each.ties, each.losses), wording.number(each.mean_length, 0)]
        for place, each in enumerate(ranking.scope.candidates, start=1)
    ]
    heads = ["Place", "Candidate", "Group", *titles, "Won / tied / lost", "Mean length"]
    groups = "Candidates that share a letter cannot be told apart."
    if ranking.all_alike:
        groups = "No two candidates can be told apart."
    return [_table(heads, rows, left=3), " ".join((groups, *ranking.remarks))]


def _composite(view: View, results: Results) -> list[str]:
    if not view.composite:
        return []
    rows = [(name, wording.number(value)) for name, value in results.composite]
    return [f"{view.composite}:", _table(("Candidate", "Composite"), rows)]


def _pairs(scope: Scope) -> str:
    rows = (
        (
            f"{pair.first} {wording.NOTHING} {pair.second}",
            _record(pair.wins, pair.ties, pair.losses),
            PLAIN.written(pair.difference),
            wording.p_value(pair.p_holm),
            "yes" if pair.separable else "no",
        )
        for pair in scope.pairs
    )
    heads = ("Pair", "Won / tied / lost", "Difference", "p (Holm)", "Separable")
    return _table(heads, rows)


def _breakdown(breakdown: Breakdown) -> list[str]:
    measure = breakdown.measure
    names = [each.candidate for each in breakdown.scopes[0][1].candidates]
    rows: list[list[str]] = []
    for name, scope in breakdown.scopes:
        found = [figures_of(scope, candidate) for candidate in names]
        cells = [measure.written(measure.pick(each)) if each else "" for each in found]
        rows.append([name, *cells, wording.count(scope.reviews)])
    heads = ["", *(escape(name) for name in names), "Reviews"]
    parts = [f"## {breakdown.heading}: {measure.title.lower()}", _table(heads, rows)]
    if breakdown.left_out:
        parts.append(f"{wording.count(breakdown.left_out)} more are in the CSV report.")
    return parts


def _bias(results: Results) -> list[str]:
    parts: list[str] = []
    if results.position:
        rows = [
            (
                each.judge,
                SHARE.written(each.first_share),
                SHARE.written(each.consistent),
                SHARE.written(each.reversed),
                wording.NOTHING if each.strict_ties is None else wording.count(each.strict_ties),
                PLAIN.written(each.coefficient),
            )
            for each in results.position
        ]
        heads = (
            "Judge",
            "First of two won",
            "Same in both orders",
            "Reversed",
            "Ties if only agreement counts",
            "Log-odds of first",
        )
        parts += ["## Position", _table(heads, rows)]
    if results.length:
        rows = [
            (
                each.dimension or "all",
                SHARE.written(each.longer_share),
                PLAIN.written(each.coefficient),
                PLAIN.written(each.markdown),
            )
            for each in results.length
        ]
        heads = ("Dimension", "Longer one won", "Coefficient", "Markdown's beside it")
        parts += ["## Length", _table(heads, rows)]
    return parts


def _judges(cards: list[JudgeCard], results: Results) -> list[str]:
    parts: list[str] = []
    if cards:
        rows = [
            (
                card.judge,
                ", ".join(card.versions) or wording.NOTHING,
                *(
                    wording.count(part)
                    for part in (
                        card.judged,
                        card.undecoded,
                        card.errored,
                        card.guarded,
                        card.overridden,
                    )
                ),
                card.prose,
            )
            for card in cards
        ]
        counts = ("Judged", "Undecoded", "Errored", "Low confidence", "Overridden")
        heads = ("Judge", "Version", *counts, "Verdicts in sentences alone")
        parts += ["## Judges", _table(heads, rows, left=2)]
    if results.agreement:
        rows = [
            (
                each.between,
                wording.sources(each),
                PLAIN.written(each.alpha),
                SHARE.written(each.same_winner),
                PLAIN.written(each.kappa),
                wording.count(each.alpha.n),
            )
            for each in results.agreement
        ]
        heads = ("Between", "Names", "Alpha", "Same winner", "Kappa", "Verdicts")
        parts += ["## Agreement", _table(heads, rows, left=2)]
    return parts


def _answers(results: Results) -> list[str]:
    if not results.answers:
        return []
    table = answer_table(results)
    rows = [
        [each.candidate, each.language or "all", wording.count(each.answers)]
        + [table.written(each, name, notation) for name, notation in table.columns]
        for each in table.rows
    ]
    titles = (escape(notation.title) for _, notation in table.columns)
    heads = ["Candidate", "Language", "Answers", *titles]
    return ["## Answers", _table(heads, rows, left=2)]


def _cost(report: ReportData) -> str:
    usage = report.run.usage
    rows = [_used("Answers", usage.answers), _used("Judge", usage.judge)]
    rows += [_used(each.model, each) for each in usage.models]
    heads = ("Part", "Calls", "Prompt tokens", "Completion tokens", "Cost")
    return _table(heads, rows)


def _used(part: str, usage: CallUsage) -> list[str]:
    counts = (usage.calls, usage.prompt_tokens, usage.completion_tokens)
    return [part, *(wording.count(each) for each in counts), wording.money(usage.cost_usd)]


def _record(wins: float, ties: float, losses: float) -> str:
    return " / ".join(wording.count(each) for each in (wins, ties, losses))


def _method(results: Results) -> str:
    return (
        "Intervals are 95 %, by bootstrap over questions "
        f"({wording.count(results.resamples)} resamples, seed {results.seed}); "
        "p values are corrected by Holm's method. Verdicts that could not be read are counted "
        f"and left out. Digest `{results.digest}`."
    )
