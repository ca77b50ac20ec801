"""Sums over the reviews of one question, for a part of the reviews: all that figures are made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.evaluator.analysis.arrays import Bools, Floats, Ints, sums_at
from services.evaluator.analysis.table import Pairs, Table


@dataclass(frozen=True, slots=True)
class Tally:
    """Sums by question (rows) and by candidate or pair of candidates (columns)."""

    questions: Ints
    """Numbers of the table's questions, one a row."""
    candidates: Ints
    """Numbers of the table's candidates, one a column."""
    first: Ints
    second: Ints
    """Columns of the candidates of each pair, the smaller first."""
    ranked: Floats
    ranks: Floats
    rank_scores: Floats
    scored: Floats
    scores: Floats
    decoded: Ints
    undecoded: Ints
    """Reviews of each candidate."""
    pairs_undecoded: Floats
    """Reviews of each pair that say nothing."""
    won: Floats
    """What the first of a pair got of it, ties by half."""
    tied: Floats
    met: Floats
    won_by_review: Floats | None
    met_by_review: Floats | None
    """The same with pairs of one review of n at weight 1 / (n - 1); None if all n are alike."""

    @property
    def size(self) -> int:
        """Return how many candidates there are."""
        return len(self.candidates)


def tally_of(table: Table, chosen: Bools) -> Tally:
    """Return the sums over the chosen reviews."""
    here = table.places
    rows = np.flatnonzero(chosen[here.review])
    questions, question = np.unique(table.question[here.review[rows]], return_inverse=True)
    candidates, candidate = np.unique(here.candidate[rows], return_inverse=True)
    shape = (len(questions), len(candidates))
    cell = question * shape[1] + candidate
    rank, score, decoded = here.rank[rows], here.score[rows], here.decoded[rows]
    ranked, scored = np.isfinite(rank), np.isfinite(score)
    inside, place = _columns(table, chosen, questions, candidates)
    pairs = len(candidates) * (len(candidates) - 1) // 2
    pair_shape = (len(questions), pairs)
    first, second = np.triu_indices(len(candidates), 1)
    won = np.where(
        table.pairs.first[inside] < table.pairs.second[inside],
        table.pairs.won[inside],
        1 - table.pairs.won[inside],
    )
    size = table.pairs.size[inside]
    weight = 1 / (size - 1)
    mixed = len(size) > 0 and bool((size != size[0]).any())
    return Tally(
        questions=questions,
        candidates=candidates,
        first=first.astype(np.int64),
        second=second.astype(np.int64),
        ranked=_summed(cell, ranked.astype(np.float64), shape),
        ranks=_summed(cell, np.where(ranked, rank, 0.0), shape),
        rank_scores=_summed(cell, np.where(ranked, 10 / rank, 0.0), shape),
        scored=_summed(cell, scored.astype(np.float64), shape),
        scores=_summed(cell, np.where(scored, score, 0.0), shape),
        decoded=np.bincount(candidate[decoded], minlength=shape[1]),
        undecoded=np.bincount(candidate[~decoded], minlength=shape[1]),
        pairs_undecoded=_both(here.review[rows][~decoded], candidate[~decoded], shape[1])[
            first, second
        ],
        won=_summed(place, won, pair_shape),
        tied=_summed(place, (won == 0.5).astype(np.float64), pair_shape),  # noqa: PLR2004
        met=_summed(place, np.ones(len(won)), pair_shape),
        won_by_review=_summed(place, won * weight, pair_shape) if mixed else None,
        met_by_review=_summed(place, weight, pair_shape) if mixed else None,
    )


def chosen_pairs(pairs: Pairs, chosen: Bools) -> Ints:
    """Return the rows of the pairs of the chosen reviews."""
    return np.flatnonzero(chosen[pairs.review])


def _columns(table: Table, chosen: Bools, questions: Ints, candidates: Ints) -> tuple[Ints, Ints]:
    """Return the rows of the chosen pairs, and the cell of each among (question, pair)."""
    rows = chosen_pairs(table.pairs, chosen)
    question = np.searchsorted(questions, table.question[table.pairs.review[rows]])
    one = np.searchsorted(candidates, table.pairs.first[rows])
    other = np.searchsorted(candidates, table.pairs.second[rows])
    low, high = np.minimum(one, other), np.maximum(one, other)
    count = len(candidates)
    column = low * (2 * count - low - 1) // 2 + high - low - 1
    return rows, question * (count * (count - 1) // 2) + column


def _both(review: Ints, candidate: Ints, count: int) -> Floats:
    """Return in how many of the reviews each two candidates stood."""
    present, place = np.unique(review, return_inverse=True)
    stood = np.zeros((len(present), count))
    stood[place, candidate] = 1
    return stood.T @ stood


def _summed(cell: Ints, values: Floats, shape: tuple[int, int]) -> Floats:
    return sums_at(cell, shape[0] * shape[1], values).reshape(shape)
