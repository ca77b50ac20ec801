"""The sign-flip test is exact, Holm's correction is his, groups say what is separable."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from services.evaluator.analysis.differences import holm, sign_flip_p
from services.evaluator.analysis.groups import groups_of
from services.evaluator.analysis.results import results_of
from tests.fakes.judged_worlds import World, options, review


@given(st.lists(st.integers(-9, 9), min_size=1, max_size=9))
def test_every_choice_of_signs_is_counted(values):
    observed = abs(sum(values))
    kept = [value for value in values if value]
    sums = [
        abs(sum(sign * value for sign, value in zip(signs, kept, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(kept))
    ]
    expected = sum(total >= observed for total in sums) / len(sums)
    assert sign_flip_p(np.array(values, dtype=float)) == pytest.approx(expected, abs=1e-9)


def test_of_wins_and_losses_alone_it_is_the_sign_test():
    for wins, losses in ((9, 1), (45, 25), (400, 350), (9000, 8500)):
        values = np.array([1.0] * wins + [-1.0] * losses + [0.0] * 7)
        assert sign_flip_p(values) == pytest.approx(
            stats.binomtest(wins, wins + losses).pvalue, rel=0.02
        )


def test_fractions_are_near_what_random_signs_give():
    rng = np.random.default_rng(5)
    for shift in (0.0, 0.25, 0.5):
        values = rng.normal(shift, 1, 60)
        signs = rng.choice([-1.0, 1.0], size=(100_000, 60))
        expected = (np.abs(signs @ values) >= abs(values.sum())).mean()
        assert sign_flip_p(values) == pytest.approx(expected, abs=0.006)
    assert sign_flip_p(np.tile(values, 400)) < 1e-12


@given(st.lists(st.sampled_from([-1, -2 / 3, -1 / 2, -1 / 3, 1 / 4, 1 / 3, 2 / 3, 1]), min_size=1))
def test_means_of_few_verdicts_are_counted_as_they_are(values):
    kept = values[:9]
    twelfths = [round(12 * value) for value in kept]
    sums = [
        abs(sum(sign * value for sign, value in zip(signs, twelfths, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(kept))
    ]
    expected = sum(each >= abs(sum(twelfths)) for each in sums) / len(sums)
    assert sign_flip_p(np.array(kept)) == pytest.approx(expected, abs=1e-9)


def test_nothing_that_differs_and_nothing_at_all_are_no_evidence():
    assert sign_flip_p(np.zeros(5)) == 1.0
    assert sign_flip_p(np.zeros(0)) == 1.0


def test_holm_steps_down():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


@settings(max_examples=200)
@given(st.integers(1, 9), st.data())
def test_groups_hold_what_they_say_even_where_differences_contradict_each_other(count, data):
    names = "abcdefghi"[:count]
    pairs = [frozenset(pair) for pair in itertools.combinations(names, 2)]
    separable = {pair for pair in pairs if data.draw(st.booleans())}
    groups = groups_of(names, separable)
    for group in groups:
        assert not any(frozenset(pair) in separable for pair in itertools.combinations(group, 2))
    for pair in pairs:
        assert (pair in separable) != any(pair <= set(group) for group in groups)
    assert {name for group in groups for name in group} == set(names)
    assert not any(set(one) < set(other) for one in groups for other in groups)


def test_the_ends_of_a_chain_are_in_no_group_together():
    chain = {frozenset("ac"), frozenset("ad"), frozenset("bd")}
    assert groups_of("abcd", chain) == [["a", "b"], ["b", "c"], ["c", "d"]]


def test_all_pairs_differ_in_a_circle_and_nobody_is_best():
    orders = [(1, 2, 3), (3, 1, 2), (2, 3, 1)]
    reviews = [review(q, "abc", orders[q % 3], repeat=0) for q in range(300)]
    scope = results_of(reviews, [], options("abc")).scopes[0]
    assert [pair.separable for pair in scope.pairs] == [True] * 3
    assert sorted(scope.groups) == [["a"], ["b"], ["c"]]
    assert [each.rating.value for each in scope.candidates] == pytest.approx([1000] * 3)


def test_candidates_that_are_alike_are_seldom_told_apart():
    """Under the null hypothesis: in no more than about one run of twenty, among all three pairs."""
    rng = np.random.default_rng(8)
    world = World(strengths=(0.0, 0.0, 0.0))
    found = 0
    for seed in range(120):
        told = options("abc", seed=seed, resamples=50)
        scope = results_of(world.run(rng, 40), [], told).scopes[0]
        found += any(pair.separable for pair in scope.pairs)
    assert found <= 13  # of 120 at 5 %: more than that in 1 of 200
