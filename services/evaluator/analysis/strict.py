"""Win rates of the pairs of which a judge said the same in both orders.

What changed with the order is left out; in the averaged win rates it counts as much as the rest.
"""

from __future__ import annotations

import numpy as np

from services.evaluator.analysis.arrays import Bools, Floats, sums_at
from services.evaluator.analysis.bootstrap import Bootstrap
from services.evaluator.analysis.figures import SHARE, ratios
from services.evaluator.analysis.orders import in_both_orders
from services.evaluator.analysis.table import Table
from services.evaluator.analysis.tally import Tally, chosen_pairs
from shared.protocol.evals.results import Figure


def strict_win_rates(
    table: Table, chosen: Bools, tally: Tally, bootstrap: Bootstrap
) -> list[Figure | None]:
    """Return each candidate's share, ties by half; None of one that stood in no such pair.

    Pairs weigh what they do in the averaged win rates, and `n` counts them once: two verdicts.
    """
    # Line-ups that no judge saw have no order.
    seen = in_both_orders(table, chosen_pairs(table.pairs, chosen & table.seen))
    if len(seen.question) == 0:
        return [None] * tally.size
    place = np.searchsorted(tally.candidates, np.concatenate([seen.one, seen.other]))
    question = np.searchsorted(tally.questions, np.tile(seen.question, 2))
    agreed = seen.agreed.astype(np.float64)
    counted = agreed if tally.met_by_review is None else agreed * seen.weight
    share = (1 + seen.before) / 2

    def by_question(one: Floats, other: Floats) -> Floats:
        shape = len(tally.questions), tally.size
        cells = question * tally.size + place
        return sums_at(cells, shape[0] * shape[1], np.concatenate([one, other])).reshape(shape)

    figures = ratios(
        by_question(counted * share, counted * (1 - share)),
        by_question(counted, counted),
        bootstrap,
        bounds=SHARE,
        n=sums_at(place, tally.size, np.tile(agreed, 2)),
        undecoded=tally.undecoded.astype(np.float64),
    )
    stood = sums_at(place, tally.size) > 0
    return [figure if there else None for figure, there in zip(figures, stood, strict=True)]
