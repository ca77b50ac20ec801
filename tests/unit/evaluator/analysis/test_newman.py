"""Newman's ratings: as evalica and an independent fit have them; what fits best, or nothing."""

from itertools import combinations

import numpy as np
import pytest
from evalica import Winner, newman
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from services.evaluator.analysis.newman import Outcomes, fit_with_ties
from services.evaluator.analysis.results import results_of
from tests.fakes.judged_worlds import World, options, review

UNIT = 400 / np.log(10)


def judged(*results):
    """Reviews of pairs: who stood in it, and how often the first won, tied and lost."""
    outcomes = [
        (lineup, ranks)
        for lineup, *counts in results
        for ranks, count in zip(((1, 2), (1, 1), (2, 1)), counts, strict=True)
        for _ in range(count)
    ]
    return [review(q, lineup, ranks) for q, (lineup, ranks) in enumerate(outcomes)]


def figures(reviews, names):
    scope = results_of(reviews, [], options(names, resamples=50)).scopes[0]
    return {each.candidate: each for each in scope.candidates}


def test_of_two_the_odds_are_those_of_the_decided_verdicts():
    # As many ties as decided ones: where evalica's own iteration ends too soon.
    found = figures(judged(("ab", 30, 40, 10)), "ab")
    # p_a / p_b = 3 whatever tied, on the same scale and with the same mean as the other rating.
    assert found["a"].rating_newman.value == pytest.approx(1000 + UNIT * np.log(3) / 2, abs=1e-3)
    assert found["b"].rating_newman.value == pytest.approx(1000 - UNIT * np.log(3) / 2, abs=1e-3)
    # Bradley-Terry has 50 of 80.
    assert found["a"].rating.value == pytest.approx(1000 + UNIT * np.log(5 / 3) / 2, abs=1e-3)
    told = found["a"].rating_newman
    assert (told.n, told.interval) == (80, None)


def test_verdicts_on_three_are_counted_as_evalica_counts_them():
    run = World().run(np.random.default_rng(3), 50)
    reviews = [*run, *(review(q, "cba", (1, 2, 2)) for q in range(30))]
    xs, ys, winners = [], [], []
    for each in reviews:
        for one, other in combinations(range(3), 2):
            ahead = each.ranks[other] - each.ranks[one]
            xs.append(each.lineup[one])
            ys.append(each.lineup[other])
            winners.append(Winner.X if ahead > 0 else Winner.Y if ahead < 0 else Winner.Draw)
    scores = newman(xs, ys, winners, tolerance=1e-12, limit=10_000).scores
    logs = np.log([scores[name] for name in "abc"])
    expected = 1000 + UNIT * (logs - logs.mean())
    found = figures(reviews, "abc")
    told = [found[name].rating_newman.value for name in "abc"]
    assert told == pytest.approx(expected.tolist(), abs=0.01)


@pytest.mark.parametrize(
    "reviews",
    [
        pytest.param(judged(("ab", 6, 0, 3)), id="nothing tied"),
        pytest.param(judged(("ab", 0, 9, 0)), id="all tied"),
        pytest.param(judged(("ab", 6, 3, 0)), id="one never lost"),
        pytest.param(judged(("ab", 6, 3, 2), ("bc", 6, 1, 0)), id="one never won"),
        pytest.param(judged(("ab", 6, 3, 2), ("cd", 6, 3, 2)), id="two that met no others"),
    ],
)
def test_where_no_finite_rating_is_sure_to_fit_best_there_is_none(reviews):
    assert {each.rating_newman for each in figures(reviews, "abcd").values()} == {None}


def test_who_met_nobody_takes_nothing_from_the_others():
    reviews = [*judged(("ab", 3, 4, 1)), review(99, "ac")]
    found = figures(reviews, "abc")
    assert found["c"].rating_newman is None
    assert found["a"].rating_newman.value == pytest.approx(1000 + UNIT * np.log(3) / 2, abs=1e-3)
    assert found["a"].rating_newman.undecoded == 1


COUNTS = st.integers(1, 60)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 5), st.data())
def test_it_is_what_an_independent_fit_of_the_same_model_finds(count, data):
    first, second = (each.astype(np.int64) for each in np.triu_indices(count, 1))
    many = st.lists(COUNTS, min_size=len(first), max_size=len(first))
    wins, ties, losses = (np.array(data.draw(many), dtype=float) for _ in range(3))

    def loss(fitted):
        apart, tying = fitted[first] - fitted[second], fitted[-1]
        parts = np.array([apart / 2, np.full(len(first), np.log(2) + tying), -apart / 2])
        total = np.logaddexp.reduce(parts)
        return -(np.array([wins, ties, losses]) * (parts - total)).sum()

    expected = optimize.minimize(loss, np.zeros(count + 1), method="BFGS").x[:-1]
    found = fit_with_ties(Outcomes(first, second, wins, ties, losses))
    assert found == pytest.approx(expected - expected.mean(), abs=2e-3)


def test_rare_losses_and_ties_are_fitted_to_the_end():
    one, other = np.array([0]), np.array([1])
    found = fit_with_ties(Outcomes(one, other, np.array([1e5]), np.array([3.0]), np.array([1.0])))
    assert found[0] - found[1] == pytest.approx(np.log(1e5), abs=1e-4)
