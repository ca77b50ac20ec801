"""`llmzoo eval report` and `compare` on the command line.

Owns options. Imported for `--help`, so everything that takes time to import is imported where it
is used.
"""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from services.cli.eval.options import APIKey, AsJSON, BaseURL, LastRun, RunName


class Format(StrEnum):
    """What a report can be written as."""

    HTML = "html"
    MARKDOWN = "md"
    JSON = "json"
    CSV = "csv"
    JSONL = "jsonl"


def report(
    name: LastRun = None,
    *,
    form: Annotated[
        Format | None,
        typer.Option("--format", help="By default what the name of --out ends in, else html."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The file to write; html goes to RUN.html by default, all else to stdout."
        ),
    ] = None,
    open_browser: Annotated[
        bool, typer.Option("--open", help="Open the report in a browser.")
    ] = False,
    base_url: BaseURL = None,
    api_key: APIKey = None,
) -> None:
    """Write a run's report: one HTML file, or Markdown, JSON, CSV, or JSONL of all items."""
    from services.cli.client import client_settings  # noqa: PLC0415 - see above
    from services.cli.eval import report_files, run_names  # noqa: PLC0415
    from services.cli.eval.printing import remark  # noqa: PLC0415

    settings = client_settings(base_url, api_key)
    chosen = form or _by_name(out)
    run = run_names.find(settings, name)
    content = report_files.fetch(settings, run, chosen.value)
    if out is None and (chosen is Format.HTML or open_browser):
        out = Path(f"{run.id}.{chosen.value}")
    if out is None:
        sys.stdout.buffer.write(content)
        sys.stdout.flush()
        return
    report_files.write_file(out, content)
    remark(f"wrote {out}")
    if open_browser:
        import webbrowser  # noqa: PLC0415 - see above

        webbrowser.open(out.resolve().as_uri())


def compare(
    first: RunName,
    second: RunName,
    *,
    base_url: BaseURL = None,
    api_key: APIKey = None,
    as_json: AsJSON = False,
) -> None:
    """Compare two runs, paired by question."""
    from services.cli.client import call, client_settings  # noqa: PLC0415 - see above
    from services.cli.eval import run_names, telling  # noqa: PLC0415
    from services.cli.eval.printing import print_lines  # noqa: PLC0415
    from shared.eval_client import EvalClient  # noqa: PLC0415

    settings = client_settings(base_url, api_key)
    before, after = run_names.find(settings, first), run_names.find(settings, second)
    found = call(settings, lambda zoo: EvalClient(zoo).compare(before, after.id))
    lines = [found.model_dump_json()] if as_json else telling.comparison_lines(found)
    print_lines(lines)


def _by_name(out: Path | None) -> Format:
    endings = {f".{form.value}": form for form in Format}
    return endings.get(out.suffix, Format.HTML) if out is not None else Format.HTML
