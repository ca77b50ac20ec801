"""`llmzoo eval status`, `watch`, `cancel`, `resume` and `list` on the command line.

Owns options. Imported for `--help`, so everything that takes time to import is imported where it
is used.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli.eval.options import (
    APIKey,
    AsJSON,
    BaseURL,
    LastRun,
    MaxCost,
    RunName,
    Watching,
    Yes,
)

if TYPE_CHECKING:
    from services.cli.eval.telling import NamedRun


class Only(StrEnum):
    """What is asked for again."""

    ERRORED = "errored"
    UNDECODED = "undecoded"
    ALL_MISSING = "all_missing"


def status(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[EVAL|RUN]",
            help="RUN_ID, EVAL_ID/RUN_ID or EVAL_ID; without it the run submitted last from here.",
            show_default=False,
        ),
    ] = None,
    *,
    base_url: BaseURL = None,
    api_key: APIKey = None,
    as_json: AsJSON = False,
) -> None:
    """Show how a run is doing, or all runs of an eval."""
    from services.cli.client import client_settings  # noqa: PLC0415 - see above
    from services.cli.eval import run_names, telling  # noqa: PLC0415
    from services.cli.eval.printing import print_lines  # noqa: PLC0415

    settings = client_settings(base_url, api_key)
    if name is not None and "/" not in name and name.startswith("eval_"):
        _print_runs(telling.runs_of(settings, name), as_json=as_json)
        return
    run = run_names.find(settings, name)
    if as_json:
        print(run.model_dump_json())
    else:
        print_lines(telling.status_lines(run))


def watch(
    name: LastRun = None,
    *,
    out: Annotated[
        Path | None, typer.Option(help="A folder for the reports, written when the run is over.")
    ] = None,
    base_url: BaseURL = None,
    api_key: APIKey = None,
) -> None:
    """Watch a run to its end and print the ranking.

    It goes on watching while controller or evaluator restart. Exit codes are those of `llmzoo eval run`.
    """
    from services.cli.client import client_settings  # noqa: PLC0415 - see above
    from services.cli.eval import run_names  # noqa: PLC0415
    from services.cli.eval.running import Manner, follow  # noqa: PLC0415

    settings = client_settings(base_url, api_key)
    run = run_names.find(settings, name)
    raise typer.Exit(follow(settings, run, Manner(watch=True, out=out)))


def cancel(name: RunName, *, base_url: BaseURL = None, api_key: APIKey = None) -> None:
    """Stop a run; calls in flight are finished and kept."""
    from services.cli.client import call, client_settings  # noqa: PLC0415 - see above
    from services.cli.eval import run_names  # noqa: PLC0415
    from services.cli.eval.printing import print_lines  # noqa: PLC0415
    from services.cli.eval.wording import end_line  # noqa: PLC0415
    from shared.eval_client import EvalClient  # noqa: PLC0415

    settings = client_settings(base_url, api_key)
    run = run_names.find(settings, name)
    print_lines([end_line(call(settings, lambda zoo: EvalClient(zoo).cancel(run)))])


def resume(
    name: RunName,
    *,
    only: Annotated[Only, typer.Option(help="What is asked for again.")] = Only.ALL_MISSING,
    judge: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Another judge: a new run on the same answers."),
    ] = None,
    yes: Yes = False,
    max_cost_usd: MaxCost = None,
    watching: Watching = True,
    base_url: BaseURL = None,
    api_key: APIKey = None,
) -> None:
    """Go on with a run that failed, was canceled or has gaps.

    What is there is kept, and nothing of it is asked for again. What another judge would cost is
    told and asked first. Exit codes are those of `llmzoo eval run`.
    """
    from services.cli.client import client_settings  # noqa: PLC0415 - see above
    from services.cli.eval import run_names, submitting  # noqa: PLC0415
    from services.cli.eval.running import Manner, follow  # noqa: PLC0415

    settings = client_settings(base_url, api_key)
    run = run_names.find(settings, name)
    body: dict[str, Any] = {"only": only.value}
    if judge is not None:
        body["judge"] = judge
    if max_cost_usd is not None:
        body["limits"] = {"max_cost_usd": max_cost_usd}
    resumed = submitting.resume(settings, run, body, agreed=yes)
    raise typer.Exit(follow(settings, resumed, Manner(watching)))


def list_(
    *,
    limit: Annotated[int, typer.Option(min=1, help="Evals, the newest first.")] = 20,
    base_url: BaseURL = None,
    api_key: APIKey = None,
    as_json: AsJSON = False,
) -> None:
    """List the runs of the newest evals."""
    from services.cli.client import client_settings  # noqa: PLC0415 - see above
    from services.cli.eval import telling  # noqa: PLC0415

    _print_runs(telling.runs_of_all(client_settings(base_url, api_key), limit), as_json=as_json)


def _print_runs(runs: list[NamedRun], *, as_json: bool) -> None:
    import orjson  # noqa: PLC0415 - see above

    from services.cli.eval import telling  # noqa: PLC0415
    from services.cli.eval.printing import print_lines  # noqa: PLC0415

    if as_json:
        print(orjson.dumps([run.model_dump(mode="json") for _, run in runs]).decode())
    elif runs:
        print_lines(telling.runs_table(runs))
    else:
        print("There is no run. Start one with: llmzoo eval run SPEC")
