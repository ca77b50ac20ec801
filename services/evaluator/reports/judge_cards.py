"""What is known of each judge of a run: how much it judged, how it errs, what it cost."""

from __future__ import annotations

from dataclasses import dataclass

from services.evaluator.reports.data import ReportData
from shared.protocol.evals.item import ItemStatus, OutputItem
from shared.protocol.evals.results import Agreement, PositionBias
from shared.protocol.evals.run import ModelUsage

_WITH = {"humans": "Agreement with people", "repeats": "Agreement of repeats"}


@dataclass(frozen=True, slots=True)
class JudgeCard:
    """One judge."""

    judge: str
    versions: list[str]
    """As its server told them, in order of appearance."""
    judged: int
    undecoded: int
    errored: int
    guarded: int
    """Verdicts that were read with low confidence."""
    prose: str
    """What becomes of verdicts that stand in sentences alone."""
    overridden: int
    position: PositionBias | None
    agreements: list[tuple[str, Agreement]]
    """With people and with itself, by the words for it."""
    usage: ModelUsage | None
    """Of the model in the whole run; that of its answers too, if it is a candidate as well."""

    @property
    def reviews(self) -> int:
        """Return how many of its reviews are over."""
        return self.judged + self.undecoded + self.errored


def judge_cards(report: ReportData) -> list[JudgeCard]:
    """Return a card for each judge, in order of appearance."""
    by_judge: dict[str, list[OutputItem]] = {}
    for item in report.items:
        if item.judge is not None:
            by_judge.setdefault(item.judge, []).append(item)
    return [_card(report, judge, items) for judge, items in by_judge.items()]


def _card(report: ReportData, judge: str, items: list[OutputItem]) -> JudgeCard:
    position = (each for each in report.results.position if each.judge == judge)
    usage = (each for each in report.run.usage.models if each.model == judge)
    return JudgeCard(
        judge=judge,
        versions=list(dict.fromkeys(each.model_version for each in items if each.model_version)),
        judged=sum(item.status is ItemStatus.JUDGED for item in items),
        undecoded=sum(item.status is ItemStatus.UNDECODED for item in items),
        errored=sum(item.status is ItemStatus.ERRORED for item in items),
        guarded=sum(
            item.verdict is not None and item.verdict.confidence == "low" for item in items
        ),
        prose="left undecoded" if judge in report.strict else "read, with low confidence",
        overridden=sum(bool(item.overrides) for item in items),
        position=next(position, None),
        agreements=[
            (_WITH[each.between], each) for each in report.results.agreement if each.judge == judge
        ],
        usage=next(usage, None),
    )
