"""Parts of the reviews, the composite over dimensions, and two runs beside each other."""

import numpy as np
import pytest

from services.evaluator.analysis.comparison import RunRows, compare_runs
from services.evaluator.analysis.results import results_of
from tests.fakes.judged_worlds import options, review


def keys(results):
    return [
        (scope.dimension, scope.category, scope.language, scope.judge) for scope in results.scopes
    ]


def test_each_part_is_counted_by_itself():
    reviews = [
        review(q, "ab", (1, 2), category=("math", "writing")[q % 2], language="en", judge=judge)
        for q in range(4)
        for judge in ("one", "two")
    ]
    results = results_of(reviews, [], options("ab", resamples=50))
    assert keys(results) == [
        (None, None, None, None),
        ("general", None, None, None),
        (None, "math", None, None),
        (None, "writing", None, None),
        (None, None, "en", None),
        (None, None, None, "one"),
        (None, None, None, "two"),
        ("general", "math", None, None),
        ("general", "writing", None, None),
        ("general", None, "en", None),
    ]
    assert [(scope.questions, scope.reviews) for scope in results.scopes[:3]] == [
        (4, 8),
        (4, 8),
        (2, 4),
    ]


def test_each_dimension_is_counted_in_each_category_of_each_language():
    reviews = [
        review(q, "ab", (1, 2), dimension=dimension, category=category, language=language)
        for q, (category, language) in enumerate(
            [("math", "en"), ("math", "zh"), ("writing", "zh"), ("writing", "zh")]
        )
        for dimension in ("general", "depth")
    ]
    reviews.append(review(9, "ab", (2, 1), category="math", language=None))
    reviews.append(review(10, "ab", (2, 1), category=None, language="en"))
    results = results_of(reviews, [], options("ab", resamples=50))
    assert keys(results)[-6:] == [
        (dimension, category, language, None)
        for dimension in ("general", "depth")
        for category, language in (("math", "en"), ("math", "zh"), ("writing", "zh"))
    ]
    assert all(None in key[:3] for key in keys(results)[:-6])
    assert [scope.questions for scope in results.scopes[-6:]] == [1, 1, 2] * 2
    assert results.scopes[-1].candidates[0].win_rate.n == 2


@pytest.mark.parametrize(
    ("categories", "languages"), [(("math", "writing"), ("en",)), (("math",), ("en", "zh"))]
)
def test_what_would_be_counted_twice_is_not(categories, languages):
    reviews = [
        review(q, "ab", (1, 2), category=categories[q % len(categories)], language=language)
        for q, language in enumerate(languages * 2)
    ]
    results = results_of(reviews, [], options("ab", resamples=50))
    assert all(None in key[:3] for key in keys(results))


def test_categories_of_languages_are_the_first_to_be_left_out():
    reviews = [
        review(q, "ab", (1, 2), category=f"c{q % 50}", language=language)
        for q, language in enumerate(["en"] * 50 + ["zh"] * 50)
    ]
    results = results_of(reviews, [], options("ab", resamples=20))
    wide = 1 + 1 + 50 + 2 + 50 + 2
    assert [None in key[:3] for key in keys(results)] == [True] * wide + [False] * (160 - wide)
    left = next(each for each in results.warnings if each.code == "scopes_left_out")
    assert left.text.startswith(str(wide + 100 - 160))


def test_a_scope_counts_wins_ranks_and_scores():
    reviews = [
        review(1, "abc", (1, 2, 2), scores=(9.0, 5.0, 5.0)),
        review(2, "cba", (1, 2, 3), scores=(8.0, 7.0, 3.0)),
    ]
    scope = results_of(reviews, [], options("abc", mode="scoring")).scopes[0]
    assert [each.candidate for each in scope.candidates] == ["c", "a", "b"]
    c, a, b = scope.candidates
    assert (c.mean_score.value, a.mean_score.value, b.mean_score.value) == (6.5, 6.0, 6.0)
    assert (a.wins, a.ties, a.losses) == (2, 0, 2)
    assert (b.wins, b.ties, b.losses) == (1, 1, 2)
    assert (a.mean_rank.value, a.rank_score.value) == (2.0, pytest.approx((10 + 10 / 3) / 2))
    assert c.win_rate.value == pytest.approx((2 + 0.5) / 4)
    pair = next(each for each in scope.pairs if {each.first, each.second} == {"b", "c"})
    assert (pair.first, pair.wins, pair.ties, pair.losses) == ("c", 1, 1, 0)
    assert pair.difference.value == pytest.approx(0.5)


def test_the_composite_weighs_dimensions():
    reviews = [
        review(q, "ab", ranks, scores=scores, dimension=dimension)
        for q in range(5)
        for dimension, ranks, scores in (
            ("general", (1, 2), (8.0, 6.0)),
            ("depth", (2, 1), (2.0, 10.0)),
            ("style", (2, 1), (0.0, 10.0)),
        )
    ]
    told = options("ab", mode="scoring", weights={"general": 3.0, "style": 0.0})
    results = results_of(reviews, [], told)
    assert results.composite == [("b", pytest.approx(7.0)), ("a", pytest.approx(6.5))]
    assert results.weights == {"general": 3.0, "depth": 1.0, "style": 0.0}
    ordering = results_of(reviews, [], options("ab", weights={"general": 3.0, "style": 0.0}))
    assert ordering.composite == [("a", pytest.approx(0.75)), ("b", pytest.approx(0.25))]


SCALES = {"general": (1.0, 10.0), "right": (0.0, 1.0)}


def scored_on(most=1.0):
    """Two answers, one better in general and the other right."""
    return [
        review(q, "ab", ranks, scores=scores, dimension=dimension)
        for q in range(5)
        for dimension, ranks, scores in (
            ("general", (1, 2), (10.0, 5.5)),
            ("right", (2, 1), (0.0, most)),
        )
    ]


def test_scores_of_different_scales_are_not_added_up():
    results = results_of(scored_on(), [], options("ab", mode="scoring", scales=SCALES))
    assert results.composite == [("b", pytest.approx(0.75)), ("a", pytest.approx(0.5))]
    assert [each.mean_score for each in results.scopes[0].candidates] == [None, None]
    general = results.scopes[1].candidates[0]
    assert (general.candidate, general.mean_score.value) == ("a", 10.0)
    assert "mixed_scales" in [warning.code for warning in results.warnings]
    alike = results_of(scored_on(), [], options("ab", mode="scoring"))
    assert alike.scopes[0].candidates[0].mean_score.value == 5.0
    assert "mixed_scales" not in [warning.code for warning in alike.warnings]


def test_dimensions_of_different_scales_agree_by_ranks():
    # The same order in both, and not one number in common.
    reviews = [
        review(q, "ab", ranks, scores=scores, dimension=dimension)
        for q in range(6)
        for dimension, ranks, scores in (
            ("general", (1, 2), (10.0, 5.5)),
            ("right", (1, 2), (1.0, 0.0)),
        )
    ]
    told = options("ab", mode="scoring", scales=SCALES)
    (dimensions,) = results_of(reviews, [], told).agreement
    assert (dimensions.between, dimensions.alpha.value) == ("dimensions", 1.0)


def test_runs_on_different_scales_are_compared_by_what_can_be_compared():
    one, other = RunRows("old", scored_on(), SCALES), RunRows("new", scored_on(), SCALES)
    compared = compare_runs(one, other)
    assert compared.metric == "mean_score"
    assert {row.dimension for row in compared.rows} == {"general", "right"}
    stretched = RunRows("new", scored_on(5.0), SCALES | {"right": (0.0, 5.0)})
    compared = compare_runs(one, stretched)
    assert compared.metric == "win_rate"
    assert {row.difference.value for row in compared.rows} == {0.0}


def run(name, rng, better):
    """A judge's scores of 60 questions, of which each has its own level."""
    levels = np.random.default_rng(0).normal(6, 2, 60)
    scores = levels + better + rng.normal(0, 0.5, 60)
    return RunRows(
        name, [review(q, "a", (1,), scores=(float(score),)) for q, score in enumerate(scores)]
    )


def test_what_became_better_is_found_though_questions_differ_more():
    rng = np.random.default_rng(1)
    compared = compare_runs(run("old", rng, 0), run("new", rng, 0.5))
    assert (compared.run_id, compared.other_run_id, compared.metric, compared.questions) == (
        "old",
        "new",
        "mean_score",
        60,
    )
    overall, general = compared.rows
    assert (overall.dimension, general.dimension) == (None, "general")
    assert overall.separable
    assert overall.difference.value == pytest.approx(0.5, abs=0.2)
    assert overall.difference.value == pytest.approx(overall.after.value - overall.before.value)
    assert overall.difference.interval.low > 0.2
    # Unpaired, the same two means could not be told apart.
    assert overall.before.interval.high > overall.after.interval.low
    same = compare_runs(run("old", rng, 0), run("new", rng, 0))
    assert not same.rows[0].separable


def test_orders_are_compared_by_pairs_won_and_only_on_questions_of_both():
    old = RunRows("old", [review(q, "ab", (1, 2)) for q in range(30)])
    new = RunRows("new", [review(q, "abc", (3, 1, 2)) for q in range(20, 50)])
    compared = compare_runs(old, new)
    assert (compared.metric, compared.questions) == ("win_rate", 10)
    rows = {row.candidate: row for row in compared.rows if row.dimension is None}
    assert set(rows) == {"a", "b"}
    assert (rows["a"].before.value, rows["a"].after.value) == (1.0, 0.0)
    assert rows["b"].difference.value == 1.0


def test_runs_without_a_common_question_have_nothing_to_compare():
    compared = compare_runs(
        RunRows("old", [review(1, "ab", (1, 2))]), RunRows("new", [review(2, "ab", (1, 2))])
    )
    assert (compared.questions, compared.rows) == (0, [])
