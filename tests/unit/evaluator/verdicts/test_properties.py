"""What holds for every text and every ranking."""

import string
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.evaluator.judging.verdicts import parse_order, parse_scores, read_order, read_scores

PIECES = st.sampled_from(
    [
        *(
            "Assistant 1",
            "Assistant 2",
            "Assistant 3",
            "assistant a",
            "Model B",
            "助手1",
            "the first",
        ),
        *(
            ">",
            "<",
            "=",
            ">=",
            "=<",
            "≥",
            "->",
            ",",
            "and",
            "(",
            ")",
            "[[",
            "]]",
            "\n",
            ".",
            "?",
            "|",
        ),
        *(
            "A",
            "B",
            "C",
            "1",
            "2",
            "3",
            "9",
            "1.",
            "2.",
            "1st",
            "best",
            "worst",
            "rank",
            "Ranking:",
        ),
        *(
            "both",
            "all three",
            "they",
            "are",
            "is",
            "equal",
            "(=)",
            "tie",
            "better",
            "than",
            "more",
        ),
        *("coherent", "not", "if", "however", "therefore", "followed by", "then", "the others"),
        *(
            '{"order":',
            "[2, 1]",
            "}",
            '"',
            "<think>",
            "</think>",
            "**",
            "$",
            "\\succ",
            "Score:",
            "8",
        ),
    ]
)
TEXTS = st.one_of(st.text(max_size=200), st.lists(PIECES, max_size=25).map(" ".join))


def competition(ranks):
    return list(ranks) == [1 + sum(other < rank for other in ranks) for rank in ranks]


@st.composite
def rankings(draw):
    n = draw(st.integers(2, 26))
    order = draw(st.permutations(range(1, n + 1)))
    joints = draw(st.lists(st.sampled_from(">="), min_size=n - 1, max_size=n - 1))
    ranks = {}
    rank = 1
    for place, (answer, joint) in enumerate(zip(order, [">", *joints], strict=True), start=1):
        rank = place if joint == ">" else rank
        ranks[answer] = rank
    return order, joints, [ranks[answer] for answer in range(1, n + 1)]


def chain(order, joints, label, joint=" {} "):
    signs = ["", *(joint.format(each) for each in joints)]
    return "".join(f"{sign}{label(answer)}" for sign, answer in zip(signs, order, strict=True))


RENDERED = {
    "numbers": lambda o, j: chain(o, j, lambda a: f"Assistant {a}"),
    "letters": lambda o, j: chain(o, j, lambda a: f"Model {string.ascii_uppercase[a - 1]}"),
    "bold": lambda o, j: chain(o, j, lambda a: f"**Assistant {a}**"),
    "tight": lambda o, j: chain(o, j, lambda a: f"Response {a}", "{}"),
    "chinese": lambda o, j: chain(o, j, lambda a: f"助手{a}"),
    "short": lambda o, j: f"Ranking: {chain(o, j, lambda a: string.ascii_uppercase[a - 1])}",
    "boxed": lambda o, j: f"[[{chain(o, j, str)}]]",
    "latex": lambda o, j: (
        "$"
        + chain(
            o, ["\\succ" if e == ">" else "\\approx" for e in j], "\\text{{Assistant {}}}".format
        )
        + "$"
    ),
    "rising": lambda o, j: chain(
        o[::-1], ["<" if e == ">" else "=" for e in j[::-1]], lambda a: f"Assistant {a}"
    ),
    "announced": lambda o, j: (
        f"All are fine.\n\nTherefore, the order is: {chain(o, j, lambda a: f'Assistant {a}')}."
    ),
}


@pytest.mark.parametrize("form", RENDERED)
@settings(max_examples=40, deadline=None)
@given(ranking=rankings())
def test_a_ranking_in_any_form_reads_back_as_itself(form, ranking):
    order, joints, ranks = ranking
    assert parse_order(RENDERED[form](order, joints), len(order)) == ranks


@settings(max_examples=40, deadline=None)
@given(rankings())
def test_a_ranking_as_a_list_reads_back_as_itself(ranking):
    order, _, ranks = ranking
    lines = [f"{ranks[answer - 1]}. Assistant {answer}" for answer in order]
    assert parse_order("Ranking:\n" + "\n".join(lines), len(order)) == ranks


@settings(max_examples=300, deadline=None)
@given(TEXTS, st.integers(2, 26))
def test_an_order_is_a_competition_ranking_or_none(text, n):
    ranks = parse_order(text, n)
    assert ranks is None or (len(ranks) == n and competition(ranks))


@settings(max_examples=200, deadline=None)
@given(TEXTS, st.integers(2, 3))
def test_orders_of_few_are_competition_rankings_or_none(text, n):
    ranks = parse_order(text, n)
    assert ranks is None or (len(ranks) == n and competition(ranks))


@settings(max_examples=200, deadline=None)
@given(TEXTS, st.integers(1, 4))
def test_scores_are_within_their_bounds_or_none(text, n):
    scores = parse_scores(text, n, low=2, high=8)
    assert scores is None or (len(scores) == n and all(2 <= score <= 8 for score in scores))


@pytest.mark.parametrize(
    "piece",
    [
        *("assistant ", "Assistant 1 is more ", "Assistant 1 and ", "Assistant 1 > ", "A > ", "\n"),
        *("(", "[[", "{", "<think>", "*1", "1 ", "| Assistant 1 ", "Both are equal. ", "x", "no "),
    ],
)
def test_a_hostile_text_of_100000_characters_takes_linear_time(piece):
    text = (piece * 100_000)[:100_000]
    started = time.process_time()
    read_order(text, 2)
    read_scores(text, 2)
    # Half a second here; what is quadratic takes minutes.
    assert time.process_time() - started < 10
