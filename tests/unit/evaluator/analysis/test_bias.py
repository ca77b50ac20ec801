"""What was planted is found: a judge that likes the first place, one that likes length."""

import numpy as np
import pytest
from scipy import optimize

from services.evaluator.analysis.results import results_of
from services.evaluator.analysis.rows import AnswerRow
from services.evaluator.analysis.style import markdown_marks
from tests.fakes.judged_worlds import options, review, swapped_pairs


@pytest.mark.parametrize(("seed", "bias"), [(1, 0.2), (2, 0.2), (3, 0.0), (4, -0.4)])
def test_a_planted_preference_for_the_first_place_is_recovered(seed, bias):
    reviews = list(swapped_pairs(np.random.default_rng(seed), 2000, bias))
    (found,) = results_of(reviews, [], options("ab", mode="pairwise")).position
    assert found.coefficient.value == pytest.approx(bias, abs=0.1)
    assert found.coefficient.interval.low < bias < found.coefficient.interval.high
    assert (found.consistent.n, found.first_share.n) == (2000, 4000)
    assert found.consistent.value + found.reversed.value == pytest.approx(1)


def test_strict_ties_are_all_but_agreed_winners():
    looks = [((1, 2), (2, 1)), ((1, 2), (1, 2)), ((1, 1), (1, 1)), ((1, 2), (1, 1))]
    reviews = [
        review(q, lineup, ranks)
        for q, both in enumerate(looks)
        for lineup, ranks in zip(("ab", "ba"), both, strict=True)
    ]
    (found,) = results_of(reviews, [], options("ab")).position
    assert found.consistent.value == pytest.approx(2 / 4)
    assert found.reversed.value == pytest.approx(1 / 4)
    assert found.strict_ties == 3
    assert (found.first_share.value, found.first_share.n) == (pytest.approx(4 / 5), 5)


def test_rotated_line_ups_are_seen_in_both_orders():
    turns = ["abc", "bca", "cab"]
    always_first = [review(q, turn, (1, 2, 3), repeat=0) for q in range(9) for turn in turns]
    (found,) = results_of(always_first, [], options("abc")).position
    assert found.first_share.value == 1.0
    assert found.reversed.value == 1.0
    assert found.coefficient.value > 1
    by_name = [
        review(q, turn, tuple("abc".index(name) + 1 for name in turn))
        for q in range(9)
        for turn in turns
    ]
    (found,) = results_of(by_name, [], options("abc")).position
    assert found.consistent.value == 1.0
    assert found.coefficient.value == 0.0


def test_judges_are_told_apart_and_one_order_cannot_be_told_from_quality():
    reviews = [review(q, "ab", (1, 2), judge="fair") for q in range(9)]
    reviews += [review(q, "ba", (2, 1), judge="fair") for q in range(9)]
    reviews += [review(q, "ab", (1, 2), judge="once") for q in range(9)]
    results = results_of(reviews, [], options("ab"))
    found = {each.judge: each for each in results.position}
    assert found["fair"].first_share.value == 0.5
    assert found["fair"].consistent.value == 1.0
    assert found["once"].consistent is None
    warning = next(each for each in results.warnings if each.code == "one_order")
    assert "once" in warning.text
    assert "fair" not in warning.text


def world_of_lengths(rng, questions, preference):
    """Two equal candidates, of which the first writes more, and a judge that likes that."""
    answers, reviews = [], []
    for question in range(questions):
        lengths = {"a": int(rng.integers(200, 900)), "b": int(rng.integers(100, 700))}
        answers += [
            AnswerRow(str(question), None, None, name, "x" * size) for name, size in lengths.items()
        ]
        apart = np.tanh((lengths["a"] - lengths["b"]) / 300)
        won = rng.random() < 1 / (1 + np.exp(-preference * apart))
        reviews.append(review(question, "ab", (1, 2) if won else (2, 1)))
    return reviews, answers


def test_a_planted_preference_for_length_is_found_and_taken_out():
    reviews, answers = world_of_lengths(np.random.default_rng(1), 1500, 1.5)
    results = results_of(reviews, answers, options("ab"))
    bias = results.length[0]
    assert bias.dimension is None
    assert bias.longer_share.interval.low > 0.6
    assert bias.coefficient.interval.low > 0.8
    top = {each.candidate: each for each in results.scopes[0].candidates}
    assert top["a"].rating.interval.low > 1020
    controlled = top["a"].rating_length_controlled
    assert controlled.interval.low < 1000 < controlled.interval.high
    assert top["a"].mean_length > top["b"].mean_length


def test_length_is_left_alone_where_nobody_wants_it_controlled():
    reviews, answers = world_of_lengths(np.random.default_rng(1), 200, 1.5)
    plain = results_of(reviews, answers, options("ab", length_control=False))
    beside = results_of(reviews, answers, options("ab"))
    assert plain.length == beside.length  # the bias is told all the same
    for mine, other in zip(plain.scopes[0].candidates, beside.scopes[0].candidates, strict=True):
        assert other.rating_length_controlled is not None
        assert mine == other.model_copy(update={"rating_length_controlled": None})


def test_without_that_preference_length_changes_little():
    reviews, answers = world_of_lengths(np.random.default_rng(2), 1500, 0.0)
    results = results_of(reviews, answers, options("ab"))
    interval = results.length[0].coefficient.interval
    assert interval.low < 0 < interval.high


def test_answers_of_one_length_or_unknown_ones_have_no_length_bias():
    reviews = [review(q, "ab", (1, 2) if q % 3 else (2, 1)) for q in range(40)]
    same = [AnswerRow(str(q), None, None, name, "same") for q in range(40) for name in "ab"]
    for answers in (same, []):
        results = results_of(reviews, answers, options("ab"))
        assert results.length == []
        assert results.scopes[0].candidates[0].rating_length_controlled is None


def test_the_longer_that_always_wins_has_a_finite_coefficient():
    answers, reviews = [], []
    for question in range(40):
        sizes = (100, 200) if question % 2 else (300, 50)
        answers += [
            AnswerRow(str(question), None, None, name, "x" * size)
            for name, size in zip("ab", sizes, strict=True)
        ]
        reviews.append(review(question, "ab", (2, 1) if question % 2 else (1, 2)))
    coefficient = results_of(reviews, answers, options("ab")).length[0].coefficient
    assert 1 < coefficient.value < 100


def test_a_planted_preference_for_markdown_is_told_from_one_for_length():
    rng = np.random.default_rng(3)
    answers, reviews = [], []
    for question in range(1500):
        sizes = rng.integers(100, 900, 2)
        marks = rng.integers(0, 9, 2)
        answers += [
            AnswerRow(str(question), None, None, name, "- x\n" * marks[place] + "y" * sizes[place])
            for place, name in enumerate("ab")
        ]
        won = rng.random() < 1 / (1 + np.exp(-1.2 * np.tanh((marks[0] - marks[1]) / 4)))
        reviews.append(review(question, "ab", (1, 2) if won else (2, 1)))
    bias = results_of(reviews, answers, options("ab")).length[0]
    assert bias.markdown.interval.low > 0.7
    assert bias.coefficient.interval.low < 0.15


def test_marks_are_headings_items_bold_and_code():
    text = "# Title\n\n- one\n- **two**\n1. three\n```\ncode\n```\nplain - text * and # more"
    assert markdown_marks(text) == 7
    assert markdown_marks("") == 0
    assert markdown_marks("\n" * 100_000 + " " * 100_000 + "*" * 100_000) < 10


def test_the_controlled_fit_is_an_independent_ones():
    reviews, answers = world_of_lengths(np.random.default_rng(4), 300, 1.0)
    length = {(each.question, each.candidate): len(each.text) for each in answers}
    apart = np.array([length[each.question, "a"] - length[each.question, "b"] for each in reviews])
    won = np.array([each.ranks[0] == 1 for each in reviews], dtype=float)
    longer = np.tanh(apart / np.sqrt((apart**2).mean()))

    def loss(fitted):
        odds = fitted[0] + fitted[1] * longer
        return (np.logaddexp(0, odds) - won * odds).sum()

    expected = optimize.minimize(loss, np.zeros(2)).x
    results = results_of(reviews, answers, options("ab"))
    assert results.length[0].coefficient.value == pytest.approx(expected[1], abs=0.002)
    top = {each.candidate: each for each in results.scopes[0].candidates}
    rating = top["a"].rating_length_controlled.value - top["b"].rating_length_controlled.value
    assert rating == pytest.approx(400 / np.log(10) * expected[0], abs=0.2)
