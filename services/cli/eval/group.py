"""The group `llmzoo eval`: which commands are in it.

Imported for `--help`: the commands' modules hold options, and import what they run when they run.
"""

from __future__ import annotations

import typer

from services.cli.eval.artefacts import artefacts
from services.cli.eval.reading import compare, report
from services.cli.eval.starting import import_, run, submit
from services.cli.eval.tending import cancel, list_, resume, status, watch


def eval_group() -> typer.Typer:
    """Return the group with its commands."""
    group = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    group.command()(run)
    group.command()(submit)
    group.command()(status)
    group.command()(watch)
    group.command()(cancel)
    group.command()(resume)
    group.command()(report)
    group.command()(compare)
    group.command("list")(list_)
    group.command("import")(import_)
    group.command()(artefacts)
    return group
