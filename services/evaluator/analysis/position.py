"""Whether the place in the line-up decides, judge by judge.

Pairs that a judge saw in both orders tell it from quality; how often whoever stands before the
other wins does not, since better candidates may have stood first.
"""

from __future__ import annotations

import numpy as np

from services.evaluator.analysis.arrays import Bools, Floats, Ints, sums_at
from services.evaluator.analysis.bootstrap import Bootstrap
from services.evaluator.analysis.figures import SHARE, drawn_figure, ratio
from services.evaluator.analysis.orders import in_both_orders
from services.evaluator.analysis.table import Table
from services.evaluator.analysis.tally import chosen_pairs
from shared.protocol.evals.results import Figure, PositionBias


def position_of(
    table: Table, judge: str, chosen: Bools, bootstrap: Bootstrap, undecoded: int
) -> PositionBias | None:
    """Return one judge's bias; None if the chosen reviews have no line-up of two or more."""
    rows = chosen_pairs(table.pairs, chosen)
    if len(rows) == 0 and not undecoded:
        return None
    question = table.question[table.pairs.review[rows]]
    won = table.pairs.won[rows]
    decided = won != 0.5  # noqa: PLR2004 - a tie
    share = _share(question[decided], won[decided] == 1, bootstrap, undecoded)
    seen = in_both_orders(table, rows)
    if len(seen.question) == 0:
        return PositionBias(judge=judge, first_share=share, consistent=None, reversed=None)
    turned = seen.before * seen.after < 0
    return PositionBias(
        judge=judge,
        first_share=share,
        consistent=_share(seen.question, seen.agreed, bootstrap, undecoded),
        reversed=_share(seen.question, turned, bootstrap, undecoded),
        strict_ties=int((~seen.agreed | (seen.before == 0)).sum()),
        coefficient=_coefficient(seen.question, seen.before[turned], turned, bootstrap),
    )


def _share(question: Ints, hits: Bools, bootstrap: Bootstrap, undecoded: int) -> Figure:
    present, places = np.unique(question, return_inverse=True)
    sums, counts = sums_at(places, len(present), hits), sums_at(places, len(present))
    return ratio(sums, counts, bootstrap, bounds=SHARE, undecoded=undecoded)


def _coefficient(question: Ints, before: Floats, turned: Bools, bootstrap: Bootstrap) -> Figure:
    """Return the log-odds for who stands first, given that the verdict turned with the order.

    Whatever the two answers are worth, the odds that it turned in favour of the first place each
    time, and not of the second, are exp(2 b): the conditional fit needs no model of quality.
    """
    present, places = np.unique(question, return_inverse=True)
    place = places[turned]
    counts = np.column_stack(
        [
            sums_at(place[before > 0], len(present)),
            sums_at(place[before < 0], len(present)),
        ]
    )
    # One half added to each: finite where one of them never was (Haldane 1956).
    value = _log_odds(counts.sum(axis=0)[None])[0]
    draws = _log_odds(bootstrap.sums(counts))
    return drawn_figure(value, draws, len(present), len(turned))


def _log_odds(counts: Floats) -> Floats:
    return 0.5 * np.log((counts[:, 0] + 0.5) / (counts[:, 1] + 0.5))
