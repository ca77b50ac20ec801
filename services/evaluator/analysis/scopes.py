"""All figures of one part of the reviews: candidates, pairs, groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from services.evaluator.analysis.arrays import Bools, Floats
from services.evaluator.analysis.bootstrap import Bootstrap
from services.evaluator.analysis.composite import Scale, one_scale
from services.evaluator.analysis.differences import SIGNIFICANT, holm, sign_flip_p
from services.evaluator.analysis.figures import BALANCE, SHARE, ratios
from services.evaluator.analysis.groups import groups_of
from services.evaluator.analysis.keys import ScopeKey
from services.evaluator.analysis.length import LengthControl, length_control, markdown_coefficient
from services.evaluator.analysis.newman import newman_ratings
from services.evaluator.analysis.ranking import Ranking, rank
from services.evaluator.analysis.strict import strict_win_rates
from services.evaluator.analysis.table import Table
from services.evaluator.analysis.tally import Tally, tally_of
from shared.protocol.evals.results import CandidateFigures, Figure, PairFigures, Scope


@dataclass(frozen=True, slots=True)
class Counted:
    """A scope, and what else was found on the way."""

    key: ScopeKey
    scope: Scope
    length: LengthControl | None
    markdown: Figure | None
    """Of plain scopes."""
    steadied: bool
    """An imaginary review keeps its ratings finite."""
    mixed: bool
    """Its line-ups differ in size."""
    one_scale: bool
    """Its scores can be added up: all its dimensions have the same scale."""


class Counting:
    """Counts the scopes of one run."""

    def __init__(
        self,
        table: Table,
        lengths: Floats,
        marks: Floats,
        bootstrap: Bootstrap,
        scales: Mapping[str, Scale],
        *,
        scoring: bool,
        controlled: bool,
    ) -> None:
        """Keep what all scopes share.

        Args:
            table: all reviews.
            lengths: of the answers.
            marks: of markdown in them.
            bootstrap: for all intervals.
            scales: of the dimensions' scores.
            scoring: mean scores decide who is best.
            controlled: candidates have ratings without the part of length too.
        """
        self._table = table
        self._lengths = lengths
        self._marks = marks
        self._bootstrap = bootstrap
        self._scales = scales
        self._scoring = scoring
        self._controlled = controlled
        self._done: dict[bytes, Counted] = {}

    def count(self, key: ScopeKey, chosen: Bools) -> Counted:
        """Return the scope of the chosen reviews; the same reviews are counted once."""
        packed = np.packbits(chosen).tobytes()
        same = self._done.get(packed)
        if same is None:
            same = self._done[packed] = self._count(key, chosen)
        return replace(same, key=key, scope=_named(same.scope, key))

    def _count(self, key: ScopeKey, chosen: Bools) -> Counted:
        reviews = [self._table.reviews[row] for row in np.flatnonzero(chosen)]
        lost = sum(not review.decoded for review in reviews)
        tally = tally_of(self._table, chosen)
        ranking = rank(tally.won, tally.met, tally.first, tally.second, self._bootstrap)
        length = length_control(tally, self._lengths, self._bootstrap, lost) if ranking else None
        markdown = None
        if length and key.plain:
            markdown = markdown_coefficient(
                tally, self._lengths, self._marks, self._bootstrap, lost
            )
        summable = one_scale({review.dimension for review in reviews}, self._scales)
        shown = length if self._controlled else None
        candidates = self._candidates(chosen, tally, ranking, shown, summable=summable)
        best_first = sorted(candidates, key=self._worth, reverse=True)
        pairs = self._pairs(tally, [each.candidate for each in best_first])
        separable = {frozenset((pair.first, pair.second)) for pair in pairs if pair.separable}
        scope = Scope(
            dimension=key.dimension,
            category=key.category,
            language=key.language,
            judge=key.judge,
            questions=len(tally.questions),
            reviews=int(self._table.joins[chosen].sum()),
            undecoded=lost,
            candidates=best_first,
            pairs=pairs,
            groups=groups_of([each.candidate for each in best_first], separable),
        )
        steady = ranking is not None and ranking.steadied
        mixed = tally.won_by_review is not None
        return Counted(key, scope, length, markdown, steady, mixed, summable)

    def _worth(self, figures: CandidateFigures) -> tuple[float, float]:
        """Return by what candidates are ordered."""
        rating = _known(figures.rating)
        if self._scoring:
            return _known(figures.mean_score), rating
        return rating, _known(figures.mean_score)

    def _candidates(
        self,
        chosen: Bools,
        tally: Tally,
        ranking: Ranking | None,
        length: LengthControl | None,
        *,
        summable: bool,
    ) -> list[CandidateFigures]:
        missing = tally.undecoded.astype(np.float64)
        boot = self._bootstrap
        ranks = ratios(tally.ranks, tally.ranked, boot, undecoded=missing)
        rank_scores = ratios(tally.rank_scores, tally.ranked, boot, undecoded=missing)
        scores = ratios(tally.scores, tally.scored, boot, undecoded=missing)
        told = [bool(figure.n) or self._scoring for figure in scores]
        shares = self._win_rates(tally)
        strict = strict_win_rates(self._table, chosen, tally, boot)
        by_review, newman = self._by_review(tally), newman_ratings(tally)
        wins, ties, losses = _outcomes(tally)
        rows: list[CandidateFigures] = []
        for place, name in enumerate(self._table.names(tally.candidates)):
            row = CandidateFigures(
                candidate=name,
                mean_rank=ranks[place],
                rank_score=rank_scores[place],
                mean_score=scores[place] if summable and told[place] else None,
                win_rate=shares[place],
                strict_win_rate=strict[place],
                wins=wins[place],
                ties=ties[place],
                losses=losses[place],
                rating=_rating(ranking.figures if ranking else None, place, missing),
                rating_by_review=_rating(by_review, place, missing),
                rating_length_controlled=_rating(
                    length.ratings if length else None, place, missing
                ),
                rating_newman=_rating(newman, place, missing),
                mean_length=self._mean_length(tally, place),
            )
            rows.append(row)
        return rows

    def _win_rates(self, tally: Tally) -> list[Figure]:
        """Return each candidate's share of its pairs."""
        won = tally.won if tally.won_by_review is None else tally.won_by_review
        met = tally.met if tally.met_by_review is None else tally.met_by_review
        return ratios(
            _by_candidate(tally, won, met - won),
            _by_candidate(tally, met, met),
            self._bootstrap,
            bounds=SHARE,
            n=_by_candidate(tally, tally.met, tally.met).sum(axis=0),
            undecoded=tally.undecoded.astype(np.float64),
        )

    def _by_review(self, tally: Tally) -> list[Figure] | None:
        """Return ratings in which each review counts the same, where line-ups differ in size."""
        if tally.won_by_review is None or tally.met_by_review is None:
            return None
        found = rank(
            tally.won_by_review, tally.met_by_review, tally.first, tally.second, self._bootstrap
        )
        return found.figures if found else None

    def _mean_length(self, tally: Tally, place: int) -> float:
        lengths = self._lengths[tally.questions, tally.candidates[place]]
        known = lengths[np.isfinite(lengths)]
        return float(known.mean()) if len(known) else 0.0

    def _pairs(self, tally: Tally, best_first: Sequence[str]) -> list[PairFigures]:
        """Return each two candidates, the better one first."""
        names = self._table.names(tally.candidates)
        order = {name: place for place, name in enumerate(best_first)}
        turned = np.array(
            [order[names[a]] > order[names[b]] for a, b in _places(tally)], dtype=np.bool_
        )
        balance = (2 * tally.won - tally.met) * np.where(turned, -1, 1)
        differences = ratios(
            balance, tally.met, self._bootstrap, bounds=BALANCE, undecoded=tally.pairs_undecoded
        )
        chances = [sign_flip_p(balance[:, column]) for column in range(balance.shape[1])]
        met = tally.met.sum(axis=0) > 0
        corrected = iter(holm([p for p, some in zip(chances, met, strict=True) if some]))
        won, tied, total = (each.sum(axis=0) for each in (tally.won, tally.tied, tally.met))
        wins, losses = won - tied / 2, total - won - tied / 2
        found: list[PairFigures] = []
        for column, (a, b) in enumerate(_places(tally)):
            swap = bool(turned[column])
            adjusted = next(corrected) if met[column] else 1.0
            pair = PairFigures(
                first=names[b] if swap else names[a],
                second=names[a] if swap else names[b],
                wins=float(losses[column] if swap else wins[column]),
                ties=float(tied[column]),
                losses=float(wins[column] if swap else losses[column]),
                difference=differences[column],
                p=chances[column],
                p_holm=adjusted,
                separable=adjusted < SIGNIFICANT,
            )
            found.append(pair)
        return sorted(found, key=lambda pair: (order[pair.first], order[pair.second]))


def _named(scope: Scope, key: ScopeKey) -> Scope:
    """Return the same figures under another part's name."""
    return scope.model_copy(
        update={
            "dimension": key.dimension,
            "category": key.category,
            "language": key.language,
            "judge": key.judge,
        }
    )


def _places(tally: Tally) -> list[tuple[int, int]]:
    return list(zip(tally.first.tolist(), tally.second.tolist(), strict=True))


def _by_candidate(tally: Tally, first: Floats, second: Floats) -> Floats:
    """Return sums by candidate of what the first and the second of each pair get."""
    pairs = range(len(tally.first))
    ones, others = np.zeros((len(pairs), tally.size)), np.zeros((len(pairs), tally.size))
    ones[pairs, tally.first] = 1
    others[pairs, tally.second] = 1
    return first @ ones + second @ others


def _outcomes(tally: Tally) -> tuple[list[float], list[float], list[float]]:
    """Return wins, ties and losses of each candidate over all its pairs."""
    won, tied, met = tally.won, tally.tied, tally.met
    wins = _by_candidate(tally, won - tied / 2, met - won - tied / 2).sum(axis=0)
    losses = _by_candidate(tally, met - won - tied / 2, won - tied / 2).sum(axis=0)
    ties = _by_candidate(tally, tied, tied).sum(axis=0)
    return wins.tolist(), ties.tolist(), losses.tolist()


def _rating(figures: list[Figure] | None, place: int, missing: Floats) -> Figure | None:
    """Return a rating with what could not be read; None of who met nobody."""
    if figures is None or not figures[place].n:
        return None
    return figures[place].model_copy(update={"undecoded": int(missing[place])})


def _known(figure: Figure | None) -> float:
    return float("-inf") if figure is None or figure.value is None else figure.value
