"""What the readable reports say, gathered once for the page and for Markdown."""

from __future__ import annotations

from dataclasses import dataclass

from services.evaluator.reports import wording
from services.evaluator.reports.data import ReportData
from services.evaluator.reports.judge_cards import JudgeCard, judge_cards
from services.evaluator.reports.measures import (
    MEAN_SCORE,
    Measure,
    leading_measure,
    measures_in,
)
from services.evaluator.reports.scopes import letters, narrowed_by, overall, title
from shared.protocol.evals.results import CandidateFigures, Results, Scope
from shared.protocol.evals.spec import Mode

_SHORT = 12
"""Signs of a digest that are enough to see that two differ."""
_MANY = 36
"""Scopes that are drawn beside each other."""
_INCOMPLETE = "incomplete"
"""A warning of the figures, which the report gives with the run's reason and numbers."""
_FEW = 8
"""Names that are listed where all stand elsewhere."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """All candidates over all reviews, best first."""

    scope: Scope
    letters: dict[str, str]
    measures: list[Measure]

    def aligned(self, candidate: str) -> str:
        """Return a candidate's letters, each in the column of its group."""
        names = dict.fromkeys("".join(self.letters.values())) if self.letters else {}
        own = self.letters.get(candidate, "")
        return "".join(name if name in own else "\u00a0" for name in names)

    @property
    def remarks(self) -> list[str]:
        """Return what must be known of the measures that are shown."""
        return [measure.remark for measure in self.measures if measure.remark]

    @property
    def all_alike(self) -> bool:
        """Return whether no candidate can be told from another."""
        return len(self.scope.candidates) > 1 and len(self.scope.groups) == 1


@dataclass(frozen=True, slots=True)
class Breakdown:
    """Scopes beside each other, on one measure."""

    heading: str
    measure: Measure
    one_axis: bool
    """Whether its values can be compared across scopes."""
    scopes: list[tuple[str, Scope]]
    left_out: int
    """Scopes beyond those that a reader can take in; the CSV report has them all."""


@dataclass(frozen=True, slots=True)
class View:
    """A report's parts, those without content being None or empty."""

    title: str
    facts: list[tuple[str, str]]
    warnings: list[str]
    ranking: Ranking | None
    leading: Measure | None
    breakdowns: list[Breakdown]
    cards: list[JudgeCard]
    composite: str
    """What the one number for each candidate is, if there is one."""


def view_of(report: ReportData) -> View:
    """Return what is to be told of a run."""
    scope = overall(report.results)
    measures = measures_in([scope]) if scope else []
    ranked = scope if measures or report.results.composite else None
    cards = judge_cards(report)
    return View(
        title=report.run.name or report.spec.name or report.run.id,
        facts=_facts(report, cards),
        warnings=_warnings(report),
        ranking=Ranking(ranked, letters(ranked), measures) if ranked else None,
        leading=leading_measure(report.results.mode, [ranked]) if ranked else None,
        breakdowns=_breakdowns(report),
        cards=cards,
        composite=_composite(report.results),
    )


def figures_of(scope: Scope, candidate: str) -> CandidateFigures | None:
    """Return a candidate's figures in a scope."""
    return next((each for each in scope.candidates if each.candidate == candidate), None)


def _facts(report: ReportData, cards: list[JudgeCard]) -> list[tuple[str, str]]:
    run, spec, results = report.run, report.spec, report.results
    judges = [card.judge for card in cards] or [judge.model for judge in spec.judges]
    facts = [
        ("Candidates", _some(run.candidates)),
        ("Judges", _some(judges)),
        ("Dimensions", _some(spec.dimension_names)),
        ("Mode", _mode(report)),
        ("Questions", wording.count(_questions(report))),
        ("Items", _items(report)),
        ("Begun", wording.moment(run.started_at or run.created_at)),
        ("Finished", _finished(report)),
        ("Evaluation", run.eval_id),
        ("Run", run.id),
        ("Digest", results.digest[:_SHORT] + ("…" if len(results.digest) > _SHORT else "")),
    ]
    return [(term, text) for term, text in facts if text]


def _composite(results: Results) -> str:
    if not results.composite:
        return ""
    scored = results.mode == Mode.SCORING
    of = "scores, each from 0 to 1 on its own scale" if scored else "win rates"
    parts = [
        f"{name}{_scale(results, name) if scored else ''}, weight {weight:g}"
        for name, weight in results.weights.items()
    ]
    told = f" ({'; '.join(parts)})" if parts else ""
    return f"Weighted mean over dimensions of {of}{told}"


def _scale(results: Results, dimension: str) -> str:
    if dimension not in results.scales:
        return ""
    low, high = results.scales[dimension]
    return f" from {low:g} to {high:g}"


def _some(names: list[str]) -> str:
    more = len(names) - _FEW
    told = ", ".join(names[:_FEW]) or "none"
    return f"{told} and {more} more" if more > 0 else told


def _mode(report: ReportData) -> str:
    spec = report.spec
    repeats = f", {spec.repeats} repeats" if spec.repeats > 1 else ""
    return f"{report.results.mode}, swap {spec.swap.value}{repeats}"


def _questions(report: ReportData) -> int:
    asked = {item.question.id for item in report.items}
    return len(asked) or len(report.spec.questions)


def _items(report: ReportData) -> str:
    done = report.run.progress
    parts = [
        f"{wording.count(part)} {word}"
        for part, word in (
            (done.judged, "judged"),
            (done.passed, "passed"),
            (done.failed, "failed"),
            (done.undecoded, "undecoded"),
            (done.errored, "errored"),
            (done.total - done.done, "open"),
        )
        if part
    ]
    return f"{wording.count(done.total)} ({', '.join(parts)})" if parts else str(done.total)


def _finished(report: ReportData) -> str:
    run = report.run
    if run.finished_at is None:
        return run.status.value
    took = run.finished_at - (run.started_at or run.created_at)
    return f"{wording.moment(run.finished_at)}, after {wording.span(max(took, 0))}"


def _warnings(report: ReportData) -> list[str]:
    run = report.run
    warnings = report.results.warnings
    found = [warning.text for warning in warnings if warning.code != _INCOMPLETE]
    found += run.warnings
    if run.error:
        found.append(f"The run failed: {run.error}")
    if not report.results.complete:
        reason = f" ({run.reason})" if run.reason else ""
        found.append(
            f"The run is {run.status.value}{reason} and not complete: "
            f"{wording.count(run.progress.done)} of {wording.count(run.progress.total)} items."
        )
    return list(dict.fromkeys(found))


def _breakdowns(report: ReportData) -> list[Breakdown]:
    found: list[Breakdown] = []
    several = _has_several_scales(report.results)
    for heading, fields in (
        ("By dimension", ("dimension",)),
        ("By category", ("category",)),
        ("By language", ("language",)),
        ("By judge", ("judge",)),
        ("By dimension and category", ("dimension", "category")),
        ("By dimension and language", ("dimension", "language")),
        ("By dimension, category and language", ("dimension", "category", "language")),
    ):
        scopes = [
            (title(scope), scope)
            for scope in narrowed_by(report.results, *fields)
            if scope.candidates
        ]
        measure = leading_measure(report.results.mode, [scope for _, scope in scopes])
        if measure:
            one_axis = not (measure is MEAN_SCORE and several and "dimension" in fields)
            shown, left_out = scopes[:_MANY], len(scopes[_MANY:])
            found.append(Breakdown(heading, measure, one_axis, shown, left_out))
    return found


def _has_several_scales(results: Results) -> bool:
    return any(warning.code == "mixed_scales" for warning in results.warnings)
