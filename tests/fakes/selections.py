"""What a PromQL expression reads: names of metrics, and the labels that it counts on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import promql_parser as promql


@dataclass(frozen=True)
class Selection:
    """A metric that is read, and the labels that matchers, groupings and matchings name."""

    name: str
    labels: frozenset[str]
    service: str | None
    """Whose, where a matcher says so."""
    text: str
    """The selector itself."""


def selections(expr: str) -> Iterator[Selection]:
    """Yield each metric that is read.

    Raises:
        ValueError: it is no PromQL.
    """
    yield from _read(promql.parse(expr), frozenset())


def _read(expr: promql.Expr, counted_on: frozenset[str]) -> Iterator[Selection]:
    """Yield them; `counted_on` are the labels that what is around takes from the result."""
    match expr:
        case promql.VectorSelector():
            assert expr.name is not None, f"a selector without a name: {expr}"
            equal = {
                m.name: m.value for m in expr.matchers.matchers if m.op == promql.MatchOp.Equal
            }
            named = {matcher.name for matcher in expr.matchers.matchers}
            yield Selection(expr.name, counted_on | named, equal.get("service"), str(expr))
        case promql.MatrixSelector():
            yield from _read(expr.vector_selector, counted_on)
        case promql.AggregateExpr():
            grouped = expr.modifier
            assert grouped is None or grouped.type == promql.AggModifierType.By
            yield from _read(expr.expr, frozenset(grouped.labels if grouped else ()))
        case promql.BinaryExpr():
            matching = expr.modifier.matching if expr.modifier else None
            matched = frozenset(matching.labels if matching else ())
            yield from _read(expr.lhs, counted_on | matched)
            # Of `and` and `unless` only the left side is left.
            filters = str(expr.op) in {"and", "unless"}
            yield from _read(expr.rhs, matched if filters else counted_on | matched)
        case promql.Call():
            made = {expr.args[1].val} if expr.func.name == "label_replace" else set()
            read = {expr.args[3].val} if expr.func.name == "label_replace" else set()
            needed = counted_on - made | read
            if expr.func.name == "histogram_quantile":
                needed |= {"le"}
            for argument in expr.args:
                yield from _read(argument, needed)
        case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            yield from _read(expr.expr, counted_on)
        case promql.NumberLiteral() | promql.StringLiteral():
            pass
        case _:
            raise AssertionError(f"not known: {expr}")
