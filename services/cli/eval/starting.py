"""`llmzoo eval run`, `submit` and `import` on the command line.

Owns options. Imported for `--help`, so everything that takes time to import is imported where it
is used.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from services.cli.eval.options import (
    APIKey,
    AsJSON,
    BaseURL,
    Candidates,
    Judges,
    MaxCost,
    SpecName,
    Watching,
    Yes,
)


class Source(StrEnum):
    """Whose files can be imported."""

    FASTCHAT = "fastchat"
    ALPACA = "alpacaeval"
    LLMZOO = "llmzoo"


def run(
    spec: SpecName,
    *,
    model: Candidates = None,
    judge: Judges = None,
    watch: Watching = True,
    out: Annotated[
        Path | None, typer.Option(help="A folder for the reports, written when the run is over.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what it would ask for and cost, and end.")
    ] = False,
    yes: Yes = False,
    max_cost_usd: MaxCost = None,
    base_url: BaseURL = None,
    api_key: APIKey = None,
) -> None:
    """Run an evaluation: submit it, watch it, print the ranking.

    A spec is the body of `POST /v1/evals` with the run's body under `run`; questions, answers and reviews may be files, by their path from the spec's. The same spec is the same run: a run that is over is told again and asks nobody anything.

    Ctrl-C ends the watching, not the run. The exit code is 0 if it is completed, 1 if it failed, 4 if it was canceled, 5 if its budget is used up.

    \b
    Examples:
      llmzoo eval run spec.yaml --out report
      llmzoo eval run mt-bench-like -m demo --judge demo
      llmzoo eval run pairwise -m demo -m hosted/small --judge hosted/big --max-cost-usd 5
    """  # noqa: D301 - \b keeps the examples' lines apart
    from services.cli.client import client_settings  # noqa: PLC0415 - see above
    from services.cli.eval.printing import print_lines  # noqa: PLC0415
    from services.cli.eval.running import Manner, follow  # noqa: PLC0415
    from services.cli.eval.spec_file import Changes, read_spec  # noqa: PLC0415
    from services.cli.eval.submitting import count, submit  # noqa: PLC0415
    from services.cli.eval.wording import counts_lines  # noqa: PLC0415

    read = read_spec(spec, Changes(model or (), judge or (), max_cost_usd))
    settings = client_settings(base_url, api_key)
    if dry_run:
        print_lines(counts_lines(count(settings, read)))
        return
    submitted = submit(settings, read, agreed=yes)
    raise typer.Exit(follow(settings, submitted, Manner(watch, out)))


def submit(
    spec: SpecName,
    *,
    model: Candidates = None,
    judge: Judges = None,
    yes: Yes = False,
    max_cost_usd: MaxCost = None,
    base_url: BaseURL = None,
    api_key: APIKey = None,
    as_json: AsJSON = False,
) -> None:
    """Submit an evaluation and print its name, EVAL_ID/RUN_ID."""
    import orjson  # noqa: PLC0415 - see above

    from services.cli.client import client_settings  # noqa: PLC0415
    from services.cli.eval.spec_file import Changes, read_spec  # noqa: PLC0415
    from services.cli.eval.submitting import submit as submit_spec  # noqa: PLC0415

    read = read_spec(spec, Changes(model or (), judge or (), max_cost_usd))
    told = submit_spec(client_settings(base_url, api_key), read, agreed=yes)
    if as_json:
        print(orjson.dumps({"eval_id": told.eval_id, "run_id": told.id}).decode())
    else:
        print(f"{told.eval_id}/{told.id}")


def import_(
    source: Annotated[
        Source, typer.Argument(metavar="FORMAT", help="fastchat, alpacaeval or llmzoo.")
    ],
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH…", help="Files, or folders of JSON and JSONL files."),
    ],
    *,
    out: Annotated[Path, typer.Option(help="The spec to write; its files go beside it.")],
) -> None:
    """Make a spec of another project's answers and judgments.

    `llmzoo eval run` takes it. With judgments it asks nobody anything; answers alone are judged by whom `--judge` names. What could not be used is counted and told.

    \b
    Examples:
      llmzoo eval import fastchat question.jsonl model_answer model_judgment --out mt.yaml
      llmzoo eval import alpacaeval annotations.json --out alpaca.yaml
    """  # noqa: D301 - \b keeps the examples' lines apart
    from services.cli.eval.importing import import_spec  # noqa: PLC0415 - see above
    from services.cli.eval.printing import print_lines, remark  # noqa: PLC0415

    written, *notes = import_spec(source.value, paths, out)
    print_lines([written])
    remark(*notes)
