"""Options that several commands of `llmzoo eval` have. Imported for `--help`."""

from __future__ import annotations

from typing import Annotated

import typer

BaseURL = Annotated[str | None, typer.Option(help="The controller.  [env: LLMZOO_BASE_URL]")]
APIKey = Annotated[str | None, typer.Option(help="Its key.  [env: LLMZOO_API_KEY]")]
AsJSON = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SpecName = Annotated[
    str,
    typer.Argument(
        metavar="SPEC",
        help="A YAML or JSON file, or mt-bench-like, pairwise or multilingual.",
        show_default=False,
    ),
]
Candidates = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        "-m",
        metavar="[NAME=]MODEL",
        help="Whom to measure, in the place of the spec's candidates; can be repeated.",
    ),
]
Judges = Annotated[
    list[str] | None,
    typer.Option(
        "--judge", metavar="MODEL", help="Who judges, in the place of the spec's; can be repeated."
    ),
]
MaxCost = Annotated[
    float | None,
    typer.Option("--max-cost-usd", min=0, help="Stop the run before it costs more."),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before money is spent.")]
RunName = Annotated[
    str,
    typer.Argument(metavar="RUN", help="RUN_ID or EVAL_ID/RUN_ID.", show_default=False),
]
LastRun = Annotated[
    str | None,
    typer.Argument(
        metavar="[RUN]",
        help="RUN_ID or EVAL_ID/RUN_ID; without it the run submitted last from here.",
        show_default=False,
    ),
]
Watching = Annotated[
    bool, typer.Option("--watch/--detach", help="Stay until the run is over, or go at once.")
]
