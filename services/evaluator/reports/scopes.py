"""Which parts of a run the figures are of: choosing among them, naming them, their groups."""

from __future__ import annotations

from string import ascii_lowercase

from shared.protocol.evals.results import PairFigures, Results, Scope

FIELDS = ("dimension", "category", "language", "judge")


def fields_of(scope: Scope) -> tuple[str, ...]:
    """Return by what a scope is narrowed."""
    return tuple(field for field in FIELDS if getattr(scope, field) is not None)


def overall(results: Results) -> Scope | None:
    """Return the scope of all reviews."""
    return next((scope for scope in results.scopes if not fields_of(scope)), None)


def narrowed_by(results: Results, *fields: str) -> list[Scope]:
    """Return the scopes that are narrowed by exactly these fields."""
    return [scope for scope in results.scopes if fields_of(scope) == fields]


def title(scope: Scope) -> str:
    """Return a scope's name."""
    return " · ".join(str(getattr(scope, field)) for field in fields_of(scope)) or "all reviews"


def letters(scope: Scope) -> dict[str, str]:
    """Return the letters of the groups that each candidate belongs to.

    Two candidates cannot be told apart if they share one (a compact letter display).
    """
    found: dict[str, str] = {}
    for place, group in enumerate(scope.groups):
        for candidate in group:
            found[candidate] = found.get(candidate, "") + _letter(place)
    return found


def _letter(place: int) -> str:
    turn, letter = divmod(place, len(ascii_lowercase))
    return ascii_lowercase[letter] + (str(turn) if turn else "")


def pair_table(scope: Scope) -> dict[tuple[str, str], PairFigures]:
    """Return each pair's figures under the names as they are told."""
    return {(pair.first, pair.second): pair for pair in scope.pairs}


def share_won(pair: PairFigures, candidate: str) -> float | None:
    """Return a candidate's share of a pair's verdicts, ties counting half."""
    decided = pair.wins + pair.ties + pair.losses
    if not decided:
        return None
    first = (pair.wins + pair.ties / 2) / decided
    return first if candidate == pair.first else 1 - first
