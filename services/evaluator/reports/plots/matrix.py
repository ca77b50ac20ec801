"""Who beats whom: a share won for each pair, as a table whose cells are coloured by it."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from services.evaluator.reports import wording
from services.evaluator.reports.plots.marks import heat
from services.evaluator.reports.scopes import pair_table, share_won
from shared.protocol.evals.results import Scope


@dataclass(frozen=True, slots=True)
class Cell:
    """One candidate against another; nothing in it if they never met."""

    text: str
    ground: Markup
    separable: bool
    explained: str


@dataclass(frozen=True, slots=True)
class MatrixRow:
    """One candidate against all."""

    candidate: str
    cells: list[Cell | None]


def win_matrix(scope: Scope) -> list[MatrixRow]:
    """Return a row for each candidate, best first, with a column for each in the same order."""
    names = [each.candidate for each in scope.candidates]
    pairs = pair_table(scope)

    def cell(row: str, column: str) -> Cell | None:
        pair = pairs.get((row, column)) or pairs.get((column, row))
        part = share_won(pair, row) if pair else None
        if pair is None or part is None:
            return None
        told = "" if pair.separable else ", not separable"
        return Cell(
            text=wording.number(100 * part, 0),
            ground=heat(part),
            separable=pair.separable,
            explained=f"{row} wins {wording.share(part)} against {column}{told}",
        )

    return [MatrixRow(row, [cell(row, column) for column in names]) for row in names]
