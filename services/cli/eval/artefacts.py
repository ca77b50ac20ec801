"""`llmzoo eval artefacts`: LLMZoo's figures from its files, with no service.

Owns options and what is printed. Imported for `--help`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def artefacts(
    *,
    questions: Annotated[Path, typer.Option(help="LLMZoo's questions, one a line.")],
    reviews: Annotated[Path, typer.Option(help="Its reviews, one a line.")],
    out: Annotated[Path, typer.Option(help="The folder to write to; made if need be.")],
    horiz: Annotated[
        bool,
        typer.Option("--horiz", help="All models side by side, not against the first one."),
    ] = False,
    score: Annotated[
        bool, typer.Option("--score", help="The reviews hold scores, not orders.")
    ] = False,
    category: Annotated[
        str | None, typer.Option(help="Only questions of this category, such as roleplay.")
    ] = None,
    reparse: Annotated[
        bool,
        typer.Option(
            "--reparse",
            help="Read the reviews' texts anew, and list where the stored verdicts differ.",
        ),
    ] = False,
) -> None:
    """Write metric.json and ordering.txt as LLMZoo's scripts do.

    Needs no server: questions and reviews are all it reads.

    \b
    Examples:
      llmzoo eval artefacts --questions questions.jsonl --reviews review.jsonl --out figures
      llmzoo eval artefacts --questions questions.jsonl --reviews review.jsonl --horiz --out figures
    """  # noqa: D301 - \b keeps the examples' lines apart
    from services.evaluator.offline import write_artefacts  # noqa: PLC0415

    written = write_artefacts(
        questions,
        reviews,
        out,
        horizontal=horiz,
        scores=score,
        category=category,
        reparse=reparse,
    )
    for each in written.differences:
        stored, read = list(each.stored), list(each.read)
        print(f"question {each.question}: stored {stored}, read {read} by {each.rule}")
    if written.left_out:
        print(
            f"reviews left out, as their questions are not in the file: {written.left_out}",
            file=sys.stderr,
        )
    print(f"{written.reviews} reviews: {written.files[0]} {written.files[1]}", file=sys.stderr)
