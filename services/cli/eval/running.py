"""`llmzoo eval run` and all that waits for a run: submit, watch, tell the results.

Owns what Ctrl-C means (the run goes on, only the watching ends) and the exit codes.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from services.cli.client import call
from services.cli.eval import wording
from services.cli.eval.printing import print_lines, remark
from services.cli.eval.progress import View, shown_on
from services.cli.eval.ranking import ranking_lines
from services.cli.eval.report_files import write_all
from services.cli.eval.watching import Watch
from services.cli.failures import ExitCode
from shared.client import ZooClient
from shared.eval_client import EvalClient
from shared.protocol.evals.run import Run, RunStatus
from shared.settings import ClientSettings

_BUDGET = "budget"


@dataclass(frozen=True, slots=True)
class Manner:
    """What happens once a run is queued."""

    watch: bool
    out: Path | None = None
    """Where reports are written when it is over."""


def follow(settings: ClientSettings, run: Run, manner: Manner) -> ExitCode:
    """Watch a run and tell its results, or tell how to; raises as ZooClient."""
    if not manner.watch:
        print_lines([f"{run.eval_id}/{run.id}"])
        remark(f"It is {run.status}. Watch it with: llmzoo eval watch {run.id}")
        return ExitCode.OK
    remark(f"{run.eval_id}/{run.id}")
    try:
        run = _watched(settings, run)
    except KeyboardInterrupt:
        remark(
            "",
            "Detached; the run goes on.",
            f"  llmzoo eval watch {run.id}     watches it again",
            f"  llmzoo eval cancel {run.id}    stops it",
        )
        return ExitCode.INTERRUPTED
    remark(wording.end_line(run))
    _tell(settings, run, manner)
    return exit_code_of(run)


def exit_code_of(run: Run) -> ExitCode:
    """Return what a shell script is told of a run that is over."""
    match run.status:
        case RunStatus.COMPLETED:
            return ExitCode.OK
        case RunStatus.CANCELED:
            budget = run.reason == _BUDGET
            return ExitCode.OUT_OF_BUDGET if budget else ExitCode.CANCELED
        case _:
            return ExitCode.FAILURE


def _watched(settings: ClientSettings, run: Run) -> Run:
    async def watch(zoo: ZooClient, view: View) -> Run:
        return await Watch(EvalClient(zoo), view).to_the_end(run)

    with shown_on(sys.stderr) as view:
        return call(settings, lambda zoo: watch(zoo, view))


def _tell(settings: ClientSettings, run: Run, manner: Manner) -> None:
    """Print the results of a run that has some, and write its reports."""
    if not run.progress.done and not run.progress.answered:
        return
    results = call(settings, lambda zoo: EvalClient(zoo).results(run))
    print_lines(ranking_lines(results))
    if manner.out is None:
        remark(f"Every answer: llmzoo eval report {run.id} --open")
        return
    for path in write_all(settings, run, manner.out):
        remark(f"wrote {path}")
