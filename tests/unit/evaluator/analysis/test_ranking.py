"""Bradley-Terry: as evalica and as Newton's method have it, finite whatever was won."""

import numpy as np
import pytest
from evalica import Winner, bradley_terry
from hypothesis import given, settings
from hypothesis import strategies as st

from services.evaluator.analysis.bootstrap import Bootstrap
from services.evaluator.analysis.ranking import fit, newton, rank, steadied
from services.evaluator.analysis.results import results_of
from tests.fakes.judged_worlds import World, options, review

BOOTSTRAP = Bootstrap(0, 100)


def pairs_of(count):
    first, second = np.triu_indices(count, 1)
    return first.astype(np.int64), second.astype(np.int64)


@settings(deadline=None, max_examples=50)
@given(st.integers(2, 6), st.data())
def test_newton_and_evalica_find_the_same_strengths(count, data):
    first, second = pairs_of(count)
    halves = st.lists(st.integers(1, 40), min_size=len(first), max_size=len(first))
    won, lost = np.array(data.draw(halves)) / 2, np.array(data.draw(halves)) / 2
    strengths = fit(won, won + lost, first, second)
    found = newton(won[None], (won + lost)[None], first, second, np.zeros(count))[0]
    assert found - found.mean() == pytest.approx(strengths, abs=1e-5)


def test_ties_and_wins_are_counted_as_evalica_counts_them():
    run = World().run(np.random.default_rng(3), 50)
    reviews = [*run, *(review(q, "ab", (1, 1)) for q in range(30))]
    xs, ys, winners = [], [], []
    for each in reviews:
        for one in range(len(each.lineup)):
            for other in range(one + 1, len(each.lineup)):
                ahead = each.ranks[other] - each.ranks[one]
                xs.append(each.lineup[one])
                ys.append(each.lineup[other])
                winners.append(Winner.X if ahead > 0 else Winner.Y if ahead < 0 else Winner.Draw)
    scores = bradley_terry(xs, ys, winners, tolerance=1e-12, limit=10_000).scores
    logs = np.log([scores[name] for name in "abc"])
    expected = 1000 + 400 / np.log(10) * (logs - logs.mean())
    found = {
        each.candidate: each.rating.value
        for each in results_of(reviews, [], options("abc")).scopes[0].candidates
    }
    assert [found[name] for name in "abc"] == pytest.approx(expected.tolist(), abs=0.01)


def test_pairs_of_a_review_of_n_weigh_less_where_that_is_asked():
    """Three of three answers and one of two: each counts once, or each review does."""
    reviews = [review(q, "abc", (1, 2, 3) if q % 3 else (3, 2, 1)) for q in range(60)]
    reviews += [review(q, "ab", (2, 1) if q % 3 else (1, 2)) for q in range(60)]
    scope = results_of(reviews, [], options("abc"))
    top = {each.candidate: each for each in scope.scopes[0].candidates}
    # a against b: 40 of 60 at weight 1 / 2, and 20 of 60 at 1; against c 40 of 60 at 1 / 2.
    assert top["a"].win_rate.value == pytest.approx((20 + 20 + 20) / (30 + 60 + 30))
    assert top["a"].rating.value - top["b"].rating.value == pytest.approx(
        fitted((40 + 20, 40, 40), (120, 60, 60)), abs=0.01
    )
    assert top["a"].rating_by_review.value - top["b"].rating_by_review.value == pytest.approx(
        fitted((20 + 20, 20, 20), (90, 30, 30)), abs=0.01
    )
    assert "mixed_lineups" in {warning.code for warning in scope.warnings}


def test_single_answers_of_which_some_are_missing_make_no_line_ups_of_different_size():
    reviews = [
        review(q, name, (1,), scores=(float(q % 3 + place),))
        if q != 5 or name != "c"
        else review(q, name)
        for q in range(40)
        for place, name in enumerate("abc")
    ]
    results = results_of(reviews, [], options("abc", mode="scoring"))
    assert {each.rating_by_review for each in results.scopes[0].candidates} == {None}
    assert results.scopes[0].candidates[0].win_rate.value == 1.0
    assert "mixed_lineups" not in {warning.code for warning in results.warnings}


def fitted(won, met):
    """The first's rating over the second's."""
    first, second = pairs_of(3)
    strengths = newton(
        np.array([won], dtype=float), np.array([met], dtype=float), first, second, np.zeros(3)
    )[0]
    return 400 / np.log(10) * (strengths[0] - strengths[1])


@settings(deadline=None, max_examples=50)
@given(st.integers(2, 7), st.data())
def test_strengths_are_finite_whoever_won_against_whom(count, data):
    first, second = pairs_of(count)
    many = {"min_size": len(first), "max_size": len(first)}
    met = np.array(data.draw(st.lists(st.integers(0, 3), **many)), dtype=float)
    won = met * np.array(data.draw(st.lists(st.sampled_from([0, 0.5, 1]), **many)))
    found = rank(won[None], met[None], first, second, BOOTSTRAP)
    assert (found is None) == (not met.any())
    if found is not None:
        assert np.isfinite(found.strengths).all()
        assert np.abs(found.strengths).max() < 20


def test_only_where_no_finite_rating_fits_a_tie_is_added():
    first, second = pairs_of(3)
    met = np.full((3, 3), 4.0)
    won = np.array([[4.0, 4.0, 4.0], [2.0, 4.0, 2.0], [4.0, 0.0, 4.0]])
    # All in one line; the third lost all to the first but not to the second; a circle.
    _, _, held = steadied(won, met, first, second, 3)
    assert held.tolist() == [True, False, False]
    told = results_of([review(q, "ab", (1, 2)) for q in range(40)], [], options("ab"))
    assert "rating_steadied" in {warning.code for warning in told.warnings}
    top = told.scopes[0].candidates[0]
    assert top.candidate == "a"
    assert top.rating.interval is None
    assert top.rating.value - 1000 == pytest.approx(200 * np.log10(40.5 / 0.5), abs=0.01)
