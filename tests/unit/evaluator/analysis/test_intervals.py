"""Intervals: by question, wide enough for few of them, Wilson's where there is one verdict each."""

import numpy as np
import pytest
from scipy import stats

from services.evaluator.analysis.bootstrap import Bootstrap, intervals
from services.evaluator.analysis.figures import BALANCE, SHARE, ratio, wilson
from services.evaluator.analysis.results import results_of
from tests.fakes.judged_worlds import coverage, options, review


def test_draws_hold_as_many_questions_as_there_are_and_repeat_with_the_seed():
    ones = np.ones((37, 1))
    assert (Bootstrap(1, 50).sums(ones) == 37).all()
    numbers = np.arange(37.0)[:, None]
    assert (Bootstrap(1, 50).sums(numbers) == Bootstrap(1, 50).sums(numbers)).all()
    assert (Bootstrap(1, 50).sums(numbers) != Bootstrap(2, 50).sums(numbers)).any()


def test_the_interval_of_a_mean_is_as_wide_as_its_standard_error_says():
    values = np.random.default_rng(0).normal(5, 1, 25)
    figure = ratio(values, np.ones(25), Bootstrap(0, 20_000))
    expected = stats.norm.interval(0.95, values.mean(), stats.sem(values))
    assert (figure.interval.low, figure.interval.high) == pytest.approx(expected, abs=0.03)


def test_repeats_of_a_question_make_no_interval_narrower():
    once = [review(q, "ab", (1, 2) if q % 2 else (2, 1)) for q in range(60)]
    often = [
        review(q, "ab", (1, 2) if q % 2 else (2, 1), repeat=repeat)
        for q in range(60)
        for repeat in range(10)
    ]
    one, ten = (results_of(each, [], options("ab")).scopes[0] for each in (once, often))
    widths = [
        each.candidates[0].win_rate.interval.high - each.candidates[0].win_rate.interval.low
        for each in (one, ten)
    ]
    assert ten.candidates[0].win_rate.n == 600
    assert widths[1] == pytest.approx(widths[0], rel=0.1)
    assert ten.pairs[0].p == pytest.approx(one.pairs[0].p)


def test_wilson_as_scipy_has_it():
    for successes, trials in ((0, 5), (7, 10), (70, 70), (33, 1000)):
        expected = stats.binomtest(successes, trials).proportion_ci(method="wilson")
        found = wilson(successes, trials)
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_one_verdict_each_has_wilsons_interval():
    reviews = [review(q, "ab", (1, 2) if q < 50 else (2, 1)) for q in range(70)]
    figure = results_of(reviews, [], options("ab")).scopes[0].candidates[0].win_rate
    assert (figure.interval.low, figure.interval.high) == (
        pytest.approx(wilson(50, 70).low),
        pytest.approx(wilson(50, 70).high),
    )


def test_figures_that_are_alike_everywhere_are_not_certain():
    ones = np.ones(70)
    for value, bounds in ((1.0, SHARE), (0.5, SHARE), (0.0, BALANCE)):
        figure = ratio(2 * value * ones, 2 * ones, Bootstrap(0, 100), bounds=bounds)
        assert bounds[0] <= figure.interval.low <= figure.value <= figure.interval.high <= bounds[1]
        assert 0.02 < figure.interval.high - figure.interval.low < 0.12
    assert ratio(ones * 7, ones, Bootstrap(0, 100)).interval is None


def test_a_figure_of_one_question_or_of_few_draws_has_no_interval():
    draws = np.random.default_rng(0).normal(size=(100, 2))
    draws[:60, 1] = np.nan
    assert intervals(draws[:, :1], np.array([1.0])) == [None]
    assert intervals(draws[:, 1:], np.array([9.0])) == [None]


def test_intervals_cover_the_truth_as_often_as_they_say():
    """A tenth of what `long_coverage.py` simulates, so the bounds are wider than its own."""
    found = coverage(np.random.default_rng(11), runs=100, resamples=400)
    for figure, (covered, of) in found.items():
        assert 0.90 <= covered / of <= 0.99, figure
