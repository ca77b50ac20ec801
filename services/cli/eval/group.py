"""The group `llmzoo eval`: which commands are in it.

Imported for `--help`: the commands' modules hold options, and import what they run when they run.
"""

from __future__ import annotations

import typer

from services.cli.eval.artefacts import artefacts


def eval_group() -> typer.Typer:
    """Return the group with its commands."""
    group = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    group.command()(artefacts)
    return group
