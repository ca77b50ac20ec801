"""LLMZoo's figures, to the last digit."""

import json

import pytest

from services.evaluator.artefacts import LegacyReview, legacy_order, metric_json, ordering_txt
from services.evaluator.offline import write_artefacts
from shared.errors import InvalidRequest
from tests.fakes.legacy_files import write_questions, write_reviews

CATEGORIES = ("generic", "coding", "math", "roleplay", "generic")
# Shuffled: the order of lines must not matter.
ORDERS = {4: [-1, -1, -1], 2: [3, 1, 2], 5: [2, 1, 3], 1: [1, 2, 2], 3: [2, 3, 1]}
SCORES = {3: [1, 2, 3], 1: [8, 9, 8], 5: [7.5, 7.5, 6], 4: [-1, -1, -1], 2: [1, 2, 3]}


@pytest.fixture
def figures(tmp_path):
    """Runs the offline entry; returns (metric, ordering lines)."""

    def run(verdicts, *, horizontal, scores=False):
        key = "score" if scores else "order"
        questions = write_questions(tmp_path / "questions.jsonl", CATEGORIES)
        reviews = write_reviews(tmp_path / "review.jsonl", verdicts, key=key)
        write_artefacts(questions, reviews, tmp_path, horizontal=horizontal, scores=scores)
        ordering = (tmp_path / "ordering.txt").read_text("utf-8").splitlines()
        return json.loads((tmp_path / "metric.json").read_text("utf-8")), ordering

    return run


def test_orders_side_by_side(figures):
    metric, ordering = figures(ORDERS, horizontal=True)
    assert metric == {
        "A": {"order": 1.0, "score": 5.0},
        "B": {"order": 1.0, "score": 5.0},
        "C": {"order": 1.6666666666666667, "score": 2.777777777777778},
    }
    assert [line.split() for line in ordering[1:]] == [
        ["A", "1.0", "1"],
        ["B", "1.0", "1"],
        ["C", "1.6666666666666667", "3"],
    ]


def test_orders_against_the_first(figures):
    metric, ordering = figures(ORDERS, horizontal=False)
    assert list(metric) == ["B", "C"]
    assert metric["B"]["winning"] == {
        "gpt3.5": 1,
        "tie": 0,
        "model": 1,
        "%model": 0.3333333333333333,
    }
    assert metric["B"]["order"] == {"gpt3.5": 1.0, "model": 1.0}
    assert metric["B"]["score"]["%model"] == 1.0
    assert metric["C"]["winning"] == {"gpt3.5": 2, "tie": 0, "model": 0, "%model": 0.0}
    assert metric["C"]["score"]["%model"] == 0.5555555555555556
    assert [line.split() for line in ordering[1:]] == [
        ["B", "1.0", "1"],
        ["turbo", "1.0", "1"],
        ["C", "1.6666666666666667", "3"],
    ]


def test_scores_side_by_side(figures):
    metric, ordering = figures(SCORES, horizontal=True, scores=True)
    assert metric == {
        "A": {"score": 5.166666666666667},
        "B": {"score": 5.5},
        "C": {"score": 4.666666666666667},
    }
    assert [line.split()[0] for line in ordering[1:]] == ["B", "A", "C"]


def test_scores_against_the_first(figures):
    metric, _ = figures(SCORES, horizontal=False, scores=True)
    assert list(metric["B"]) == ["winning", "score"]
    assert metric["B"]["winning"] == {
        "gpt3.5": 0,
        "tie": 1,
        "model": 1,
        "%model": 0.3333333333333333,
    }
    assert metric["B"]["score"]["%model"] == 1.064516129032258
    assert metric["C"]["winning"] == {
        "gpt3.5": 1,
        "tie": 1,
        "model": 0,
        "%model": 0.0,
    }
    assert metric["C"]["score"]["%model"] == 0.9032258064516129


def test_columns_are_thirty_wide(figures):
    _, ordering = figures(ORDERS, horizontal=True)
    assert ordering[0] == "Model".ljust(30) + "Ranking Score".ljust(30) + "Rank".ljust(30)
    assert all(len(line) == 90 for line in ordering)


def test_without_a_question_that_counts_there_are_no_figures():
    reviews = [LegacyReview("math", ("A", "B"), (1, 2))]
    with pytest.raises(InvalidRequest, match="coding and math"):
        metric_json(reviews, horizontal=True, scores=False)


def test_without_a_read_review_nothing_can_be_measured_by_the_first():
    reviews = [LegacyReview("generic", ("A", "B"), (-1, -1))]
    with pytest.raises(InvalidRequest, match="no score to measure"):
        metric_json(reviews, horizontal=False, scores=False)
    assert '"order": 0.0' in metric_json(reviews, horizontal=True, scores=False)
    assert "0.0" in ordering_txt(reviews, horizontal=True, scores=False)


@pytest.mark.parametrize(
    ("text", "n", "order"),
    [
        ("Assistant 1 > Assistant 2", 2, [1, 2]),
        ("Assistant 1 = Assistant 2 = Assistant 3 > Assistant 4", 4, [1, 1, 1, 4]),
        ("Assistant 1 >= Assistant 2 >> Assistant 3", 3, [1, 2, 3]),
        ("Assistant 2 > Assistant 1. No: Assistant 1 > Assistant 2", 2, [2, 1]),
        ("Assistant 2 > Assistant 2", 2, [0, 2]),
        ("Assistant 1 > Assistant 1 > Assistant 2", 3, [2, 3, 0]),
        ("Assistant 0 > Assistant 1", 2, [2, 1]),
        (" > ".join(f"Assistant {name}" for name in range(1, 11)), 10, [10, *range(2, 10), 0]),
        ("Assistant 5 > Assistant 1", 2, [-1, -1]),
        ("Assistant 1 < Assistant 2", 2, [-1, -1]),
        ("Assistant 1>Assistant 2", 2, [-1, -1]),
        ("**Assistant 1** > **Assistant 2**", 2, [-1, -1]),
        ("assistant 1 > assistant 2", 2, [-1, -1]),
        ("Assistant 1 > 2", 2, [-1, -1]),
    ],
)
def test_llmzoos_own_reading_of_orders(text, n, order):
    assert legacy_order(text, n) == order
