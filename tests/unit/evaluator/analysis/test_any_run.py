"""Whatever was judged, there are figures and no number that JSON does not have."""

import json
import subprocess
import sys
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.evaluator.analysis.comparison import RunRows, compare_runs
from services.evaluator.analysis.results import results_of
from services.evaluator.analysis.rows import AnswerRow, Review
from shared.protocol.evals.spec import Metric
from tests.fakes.judged_worlds import options, review

NAMES = tuple("abcdefghijklmnopqrstuvwxyz")
METRICS = get_args(Metric)


def competition(values):
    return tuple(1 + sum(other < value for other in values) for value in values)


@st.composite
def any_review(draw, candidates):
    lineup = tuple(draw(st.permutations(candidates))[: draw(st.integers(1, len(candidates)))])
    values = draw(st.lists(st.integers(0, 3), min_size=len(lineup), max_size=len(lineup)))
    kind = draw(st.sampled_from(["ranks", "scores", "passed", "nothing"]))
    ranks = scores = passed = replaced = None
    if kind == "ranks":
        ranks = competition(values)
        replaced = draw(st.sampled_from([None, ranks, ranks[::-1]]))
    elif kind == "scores":
        scores = tuple(float(value) for value in values)
        ranks = competition([-value for value in values])
    elif kind == "passed" and len(lineup) == 1:
        passed = draw(st.booleans())
    return Review(
        question=str(draw(st.integers(0, 4))),
        category=draw(st.sampled_from([None, "math", "writing"])),
        language=draw(st.sampled_from([None, "en", "ja"])),
        dimension=draw(st.sampled_from(["general", "depth"])),
        judge=draw(st.sampled_from(["one", "two"])),
        repeat=draw(st.integers(0, 1)),
        lineup=lineup,
        ranks=ranks,
        scores=scores,
        passed=passed,
        human=replaced is not None,
        replaced_ranks=replaced,
        model_version=draw(st.sampled_from([None, "v1", "v2"])),
    )


@st.composite
def any_run(draw):
    candidates = NAMES[: draw(st.integers(1, 5))]
    reviews = draw(st.lists(any_review(candidates), max_size=25))
    texts = st.sampled_from(["", "yes", "no and no", "東京は日本の首都です。", "a b c d e f g"])
    answers = [
        AnswerRow(
            str(question),
            None,
            language,
            name,
            draw(texts),
            draw(st.sampled_from([(), ("yes",), ("no", "東京"), ("",)])),
        )
        for question in range(draw(st.integers(0, 3)))
        for name in candidates
        for language in [draw(st.sampled_from([None, "en", "zh", "ja"]))]
    ]
    return candidates, reviews, answers


def check_figures(value):
    """Every figure lies in its interval; nothing is counted below zero."""
    if isinstance(value, list):
        for each in value:
            check_figures(each)
    elif isinstance(value, dict):
        if "value" in value and "interval" in value:
            assert value["n"] >= 0
            assert value["undecoded"] >= 0
            if value["interval"] is not None:
                assert value["value"] is not None
                assert value["interval"]["low"] <= value["interval"]["high"]
        for each in value.values():
            check_figures(each)


@settings(max_examples=60, deadline=None)
@given(any_run(), st.sampled_from(["ordering", "scoring", "pairwise"]))
def test_any_run_has_figures_that_json_can_tell(run, mode):
    candidates, reviews, answers = run
    told = options(candidates, mode=mode, metrics=METRICS, resamples=40, baseline="a")
    results = results_of(reviews, answers, told)
    document = json.loads(json.dumps(results.model_dump(), allow_nan=False))
    check_figures(document)
    assert results == results_of(reviews, answers, told)
    for scope in results.scopes:
        present = {figures.candidate for figures in scope.candidates}
        assert {name for group in scope.groups for name in group} == present
        assert len(scope.pairs) == len(present) * (len(present) - 1) // 2


@settings(max_examples=40, deadline=None)
@given(any_run(), any_run())
def test_any_two_runs_can_be_compared(one, other):
    compared = compare_runs(RunRows("run_1", one[1]), RunRows("run_2", other[1]), resamples=40)
    check_figures(json.loads(json.dumps(compared.model_dump(), allow_nan=False)))


def test_a_run_without_reviews_has_the_answers_figures_alone():
    answers = [AnswerRow("1", None, "en", "a", "Paris.", ("Paris.",))]
    results = results_of([], answers, options(["a"], metrics=("exact_match",)))
    assert results.scopes == []
    assert results.answers[0].values["exact_match"].value == 1
    assert results.answers[0].values["length"].value == 6


def test_one_candidate_alone_has_a_mean_score_and_nothing_to_be_compared_with():
    reviews = [review(q, "a", (1,), scores=(float(q % 3),)) for q in range(40)]
    figures = results_of(reviews, [], options("a", mode="scoring")).scopes[0].candidates[0]
    assert figures.mean_score.n == 40
    assert figures.mean_score.interval.low < figures.mean_score.value
    assert figures.win_rate.value is None
    assert figures.mean_rank.value is None
    assert figures.rating is None


def test_all_undecoded_is_told_and_counted_nowhere():
    reviews = [review(q, "ab") for q in range(3)]
    results = results_of(reviews, [], options("ab"))
    scope = results.scopes[0]
    assert (scope.reviews, scope.undecoded, scope.questions) == (3, 3, 3)
    for figures in scope.candidates:
        assert (figures.win_rate.value, figures.win_rate.n, figures.win_rate.undecoded) == (
            None,
            0,
            3,
        )
    assert scope.pairs[0].difference.undecoded == 3
    assert scope.groups == [["a", "b"]]
    assert "undecoded" in {warning.code for warning in results.warnings}


def test_undecoded_reviews_are_in_no_denominator():
    reviews = [review(q, "ab", (1, 2) if q < 6 else None) for q in range(10)]
    figures = results_of(reviews, [], options("ab")).scopes[0].candidates[0]
    assert (figures.candidate, figures.win_rate.value, figures.mean_rank.value) == ("a", 1.0, 1.0)
    assert (figures.win_rate.n, figures.win_rate.undecoded) == (6, 4)


def test_ties_alone_tell_nobody_apart():
    scope = results_of([review(q, "abc", (1, 1, 1)) for q in range(50)], [], options("abc"))
    top = scope.scopes[0]
    assert top.groups == [["a", "b", "c"]]
    assert [figures.rating.value for figures in top.candidates] == pytest.approx([1000] * 3)
    assert [figures.win_rate.value for figures in top.candidates] == [0.5] * 3
    assert "mostly_ties" in {warning.code for warning in scope.warnings}


def test_26_candidates_are_ranked():
    reviews = [review(q, NAMES, tuple(range(1, 27))) for q in range(5)]
    scope = results_of(reviews, [], options(NAMES, resamples=100)).scopes[0]
    assert [figures.candidate for figures in scope.candidates] == list(NAMES)
    assert all(figures.rating.value is not None for figures in scope.candidates)


def test_one_question_alone_claims_little():
    figures = results_of([review(1, "ab", (1, 2))], [], options("ab")).scopes[0].candidates[0]
    interval = figures.win_rate.interval
    assert figures.win_rate.value == 1.0
    assert interval.low < 0.25
    assert figures.rating.interval is None


def test_grades_of_single_answers_are_compared_by_question():
    reviews = [
        review(q, name, passed=(name == "a" or q < 5), dimension="correct", judge="")
        for q in range(30)
        for name in "ab"
    ]
    results = results_of(reviews, [], options("ab", mode="scoring"))
    scope = results.scopes[0]
    assert scope.reviews == 60
    assert [(each.candidate, each.mean_score.value) for each in scope.candidates] == [
        ("a", 1.0),
        ("b", pytest.approx(5 / 30)),
    ]
    assert (scope.pairs[0].wins, scope.pairs[0].ties, scope.pairs[0].losses) == (25, 5, 0)
    assert scope.pairs[0].separable
    assert results.position == []


def test_a_verdict_that_fits_no_line_up_is_none():
    reviews = [
        review(1, "ab", (1, 2, 3)),
        review(2, "aa", (1, 2)),
        review(3, "ab", (1, 2), scores=(float("nan"), 1.0)),
        review(4, "ab", (7, 3)),
        review(5, "ab", (0, 0)),
    ]
    scope = results_of(reviews, [], options("ab")).scopes[0]
    assert (scope.reviews, scope.undecoded) == (5, 3)
    (pair,) = scope.pairs
    assert (pair.first, pair.wins, pair.ties, pair.losses) == ("b", 1, 1, 0)
    assert scope.candidates[0].mean_rank.value == 1.0


def test_the_entries_load_nothing_heavy():
    code = (
        "import sys, services.evaluator.analysis.results, services.evaluator.analysis.comparison;"
        "print({'numpy', 'scipy', 'pandas', 'evalica', 'sacrebleu'} & set(sys.modules) or 'light')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "light"
