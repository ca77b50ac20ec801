"""A run's results as plain tables.

Owns which figures a person sees first: the ranking with its intervals, who cannot be told apart,
each dimension, and what must be known before a figure is believed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from services.cli.eval.wording import usage_line
from services.cli.table import columns
from shared.protocol.evals.results import AnswerMetrics, Figure, Results, Scope

_NOTHING = "-"


def ranking_lines(results: Results) -> Iterator[str]:
    """Yield the lines that tell of a run's results."""
    for table in _tables(results):
        yield from table
        yield ""
    if not results.complete:
        yield "The run is not complete: these are the figures so far."
    yield from (f"warning: {warning.text}" for warning in results.warnings)
    yield usage_line(results.usage)


def _tables(results: Results) -> Iterator[Iterator[str]]:
    overall = [scope for scope in results.scopes if _whole(scope) and scope.dimension is None]
    if overall and overall[0].candidates:
        yield _overall(overall[0])
    dimensions = [scope for scope in results.scopes if _whole(scope) and scope.dimension]
    if len(dimensions) > 1:
        yield _by_dimension(dimensions)
    if len(dimensions) > 1 and results.composite:
        rows = [(name, f"{value:.3f}") for name, value in results.composite]
        yield columns(("CANDIDATE", "COMPOSITE"), rows)
    metrics = [each for each in results.answers if each.language is None and each.values]
    if metrics:
        yield _metrics(metrics)


def figure_text(figure: Figure | None, digits: int = 2) -> str:
    """Return a figure with its interval."""
    if figure is None or figure.value is None:
        return _NOTHING
    text = f"{figure.value:.{digits}f}"
    if figure.interval is None:
        return text
    return f"{text} [{figure.interval.low:.{digits}f}, {figure.interval.high:.{digits}f}]"


def _whole(scope: Scope) -> bool:
    """Return whether a scope is no category's, language's or judge's part."""
    return scope.category is None and scope.language is None and scope.judge is None


def _overall(scope: Scope) -> Iterator[str]:
    head = ["GROUP", "CANDIDATE", "SCORE", "MEAN RANK", "WIN RATE", "RATING", "W/T/L", "N"]
    rows = [
        [
            _groups_of(scope, each.candidate),
            each.candidate,
            figure_text(each.mean_score),
            figure_text(each.mean_rank),
            figure_text(each.win_rate),
            figure_text(each.rating, 0),
            f"{each.wins:g}/{each.ties:g}/{each.losses:g}",
            str((each.mean_score or each.mean_rank).n),
        ]
        for each in scope.candidates
    ]
    told = [place for place in range(len(head)) if any(row[place] != _NOTHING for row in rows)]
    yield from columns(
        [head[place] for place in told], [[row[place] for place in told] for row in rows]
    )
    yield ""
    yield f"{scope.reviews} reviews of {scope.questions} questions, {scope.undecoded} undecoded."
    yield "In brackets: 95 % intervals. Candidates of one group cannot be told apart."


def _groups_of(scope: Scope, candidate: str) -> str:
    places = [str(n) for n, group in enumerate(scope.groups, start=1) if candidate in group]
    return ",".join(places) or _NOTHING


def _by_dimension(scopes: Sequence[Scope]) -> Iterator[str]:
    scored = any(each.mean_score is not None for scope in scopes for each in scope.candidates)
    found = {
        (scope.dimension, each.candidate): each.mean_score if scored else each.mean_rank
        for scope in scopes
        for each in scope.candidates
    }
    names = dict.fromkeys(candidate for _, candidate in found)
    head = ["MEAN SCORE" if scored else "MEAN RANK", *(str(scope.dimension) for scope in scopes)]
    yield from columns(
        head,
        [
            [name, *(figure_text(found.get((scope.dimension, name))) for scope in scopes)]
            for name in names
        ],
    )


def _metrics(answers: Sequence[AnswerMetrics]) -> Iterator[str]:
    names = list(dict.fromkeys(name for each in answers for name in each.values))
    yield from columns(
        ["CANDIDATE", *(name.upper() for name in names)],
        [
            [each.candidate, *(figure_text(each.values.get(name)) for name in names)]
            for each in answers
        ],
    )
