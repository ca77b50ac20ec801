"""`llmzoo eval status`, `list` and `compare`: what there is, as tables.

Owns the tables.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

from services.cli.client import call
from services.cli.eval import wording
from services.cli.eval.ranking import figure_text
from services.cli.table import columns
from shared.client import ZooClient
from shared.eval_client import EvalClient
from shared.protocol.evals.results import Comparison
from shared.protocol.evals.run import Run
from shared.settings import ClientSettings

NamedRun = tuple[str, Run]
"""A run, and what its eval is called."""
_HEAD = ("RUN", "NAME", "STATUS", "DONE", "UNDECODED", "ERRORED", "COST", "CREATED")


def runs_of_all(settings: ClientSettings, evals: int) -> list[NamedRun]:
    """Return the runs of the newest evals with each eval's name; raises as ZooClient."""

    async def listed(zoo: ZooClient) -> list[NamedRun]:
        client, found = EvalClient(zoo), list[NamedRun]()
        seen = 0
        async for told in client.evals():
            found += [(_name(told), run) async for run in client.runs(str(told["id"]))]
            seen += 1
            if seen == evals:
                break
        return found

    return call(settings, listed)


def runs_of(settings: ClientSettings, eval_id: str) -> list[NamedRun]:
    """Return the runs of one eval; raises as ZooClient."""

    async def listed(zoo: ZooClient) -> list[NamedRun]:
        return [("", run) async for run in EvalClient(zoo).runs(eval_id)]

    return call(settings, listed)


def runs_table(runs: list[NamedRun]) -> Iterator[str]:
    """Yield one line a run."""
    rows = [
        (
            run.id,
            run.name or name or "-",
            run.status.value + (f" ({run.reason})" if run.reason else ""),
            f"{run.progress.done}/{run.progress.total}",
            str(run.progress.undecoded),
            str(run.progress.errored),
            wording.money(run.usage.answers.cost_usd + run.usage.judge.cost_usd),
            _moment(run.created_at),
        )
        for name, run in runs
    ]
    yield from columns(_HEAD, rows)


def status_lines(run: Run) -> Iterator[str]:
    """Yield all that is known of one run but its results."""
    yield f"{run.eval_id}/{run.id}"
    yield wording.progress_line(run, None)
    yield f"candidates: {', '.join(run.candidates)}"
    yield wording.usage_line(run.usage)
    if run.reason or run.error:
        yield f"reason: {run.reason or run.error}"
    yield from (f"warning: {text}" for text in run.warnings)


def comparison_lines(comparison: Comparison) -> Iterator[str]:
    """Yield two runs beside each other."""
    head = ("CANDIDATE", "DIMENSION", "BEFORE", "AFTER", "DIFFERENCE", "P (HOLM)", "")
    rows = [
        (
            row.candidate,
            row.dimension or "all",
            figure_text(row.before),
            figure_text(row.after),
            figure_text(row.difference),
            f"{row.p_holm:.3f}",
            "separable" if row.separable else "not separable",
        )
        for row in comparison.rows
    ]
    yield from columns(head, rows)
    yield ""
    yield f"Paired by {comparison.questions} questions that both runs have."


def _name(told: dict[str, object]) -> str:
    spec = told.get("spec")
    name: object = spec.get("name") if isinstance(spec, dict) else told.get("name")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return name if isinstance(name, str) else ""


def _moment(seconds: int) -> str:
    moment = dt.datetime.fromtimestamp(seconds).astimezone()
    return f"{moment:%Y-%m-%d %H:%M}"
