"""Replies are read in the form that was asked for, strictly: one reading, or none with the reason."""

import json
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.evaluator.judging.assessment import Form
from services.evaluator.judging.rankings import competition_ranks
from services.evaluator.ranks import ranks_of
from shared.protocol.evals.spec import Mode
from tests.fakes.reviews import assessed, task

SOLO = assessed(task(Mode.SCORING, "Swifts do."))
PAIR = assessed(task(Mode.PAIRWISE, "Swifts do.", "Owls do."))
SCORED = assessed(task(Mode.SCORING, "Swifts do.", "Owls do."))
ORDERED = assessed(task(Mode.ORDERING, "Swifts do.", "Owls do.", "Ducks do."))


def ranks(*given_ranks):
    return {"ranks": {f"assistant_{place}": rank for place, rank in enumerate(given_ranks, 1)}}


READ = [
    (SOLO, {"reason": "Right.", "score": 8}, "scores", [8]),
    (SOLO, {"reason": "Right.", "score": 8.5}, "scores", [8.5]),
    (SOLO, {"score": 8}, "scores", [8]),
    (SOLO, {"reason": "Right.", "scores": [8]}, "scores", [8]),
    (SCORED, {"reason": "x", "scores": {"assistant_1": 8, "assistant_2": 9}}, "scores", [8, 9]),
    (SCORED, {"reason": "x", "scores": {"assistant_2": 9, "assistant_1": 8}}, "scores", [8, 9]),
    (SCORED, {"reason": "x", "scores": [8, 9]}, "scores", [8, 9]),
    (PAIR, {"reason": "x", "better": "A"}, "ranks", [1, 2]),
    (PAIR, {"reason": "x", "better": "B"}, "ranks", [2, 1]),
    (PAIR, {"reason": "x", "better": "tie"}, "ranks", [1, 1]),
    (ORDERED, ranks(2, 1, 3), "ranks", [2, 1, 3]),
    (ORDERED, ranks(1, 1, 2), "ranks", [1, 1, 3]),
    (ORDERED, ranks(1, 1, 3), "ranks", [1, 1, 3]),
    (ORDERED, ranks(1, 3, 3), "ranks", [1, 2, 2]),
    (ORDERED, {"ranks": [3, 2, 1]}, "ranks", [3, 2, 1]),
]
UNREAD = [
    (SOLO, "", "empty_reply"),
    (SOLO, "<think>Swifts are", "empty_reply"),
    (SOLO, '{"reason": "It is', "not_json"),
    (SOLO, 'Score: 9\n{"score": 8}', "contradictory"),
    (SOLO, 'Here: {"score": 8} or {"score": 9}', "not_json"),
    (SOLO, 'A set {a, b}.\n{"score": 8}', "not_json"),
    (SOLO, '{"score": 8}\n{"score": 9}', "not_json"),
    (SOLO, '[{"score": 8}]', "not_json"),
    (SOLO, '{"score": NaN}', "not_json"),
    (SOLO, '{"score": 8, "score": 9}', "duplicate_key"),
    (SOLO, '{"reason": "x", "score": 8, "final": 9}', "wrong_keys"),
    (SOLO, '{"reason": "x"}', "wrong_keys"),
    (SOLO, '{"score": "8"}', "wrong_type"),
    (SOLO, '{"score": true}', "wrong_type"),
    (SOLO, '{"score": null}', "wrong_type"),
    (SOLO, '{"score": 11}', "out_of_range"),
    (SOLO, '{"score": 0}', "out_of_range"),
    (SOLO, '{"score": 1e999}', "out_of_range"),
    (SOLO, '{"score": ' + "9" * 400 + "}", "out_of_range"),
    (SOLO, '{"score": ' + "[" * 100_000, "not_json"),
    (SCORED, '{"scores": {"assistant_1": 8}}', "wrong_count"),
    (SCORED, '{"scores": {"assistant_1": 8, "assistant_3": 8}}', "wrong_count"),
    (SCORED, '{"scores": {"assistant_1": 8, "assistant_1": 8}}', "duplicate_key"),
    (SCORED, '{"scores": [8, 9, 7]}', "wrong_count"),
    (SCORED, '{"scores": 8}', "wrong_type"),
    (PAIR, '{"better": "C"}', "unknown_label"),
    (PAIR, '{"better": 1}', "wrong_type"),
    (ORDERED, json.dumps(ranks(2, 2, 2)), "no_ranking"),
    (ORDERED, json.dumps(ranks(2, 3, 3)), "no_ranking"),
    (ORDERED, json.dumps(ranks(1, 2, 4)), "out_of_range"),
    (ORDERED, json.dumps(ranks(0, 1, 2)), "out_of_range"),
    (ORDERED, json.dumps(ranks(1, 2)), "wrong_count"),
    (ORDERED, json.dumps(ranks(1.0, 2, 3)), "wrong_type"),
]


@pytest.mark.parametrize(("assessment", "told", "field", "expected"), READ)
def test_an_object_of_the_schema_is_read(assessment, told, field, expected):
    reply = json.dumps(told)
    for written in (
        reply,
        f"\n{reply}\n",
        f"```json\n{reply}\n```",
        f"<think>Hm {{.</think>{reply}",
    ):
        verdict = assessment.read(Form.SCHEMA, written, None)
        assert getattr(verdict, field) == expected
        assert verdict.rule == "schema"


@pytest.mark.parametrize(("assessment", "reply", "rule"), UNREAD)
def test_anything_else_is_not_and_says_why(assessment, reply, rule):
    verdict = assessment.read(Form.SCHEMA, reply, None)
    assert not verdict.decoded
    assert verdict.rule == rule


TEXTS = [
    (SOLO, "It is right.\nScore: 8", "scores", [8]),
    (SOLO, "Thinking aloud, a 3.\n</think>\nIt is right.\nScore: 8", "scores", [8]),
    (SCORED, "Scores: 8 9", "scores", [8, 9]),
    (SCORED, "Both are fine.\nAssistant 1: 8\nAssistant 2: 9", "scores", [8, 9]),
    (ORDERED, "Assistant 2 > Assistant 1 = Assistant 3", "ranks", [2, 1, 2]),
    (PAIR, "The first names a bird.\nVerdict: A", "ranks", [1, 2]),
    (PAIR, "**[[B]]**", "ranks", [2, 1]),
    (PAIR, "Neither convinces. So [[C]].", "ranks", [1, 1]),
    (PAIR, "Final verdict: tie", "ranks", [1, 1]),
    (PAIR, "My decision is: Assistant B.", "ranks", [2, 1]),
    (PAIR, "裁决：A", "ranks", [1, 2]),  # noqa: RUF001
    (PAIR, "Assistant A > Assistant B", "ranks", [1, 2]),
    (PAIR, "I first thought [[A]].\nNow [[B]].", "ranks", [2, 1]),
]


@pytest.mark.parametrize(("assessment", "reply", "field", "expected"), TEXTS)
@pytest.mark.parametrize("form", Form)
def test_text_is_read_also_where_a_server_knows_of_no_schema(
    assessment, reply, field, expected, form
):
    assert getattr(assessment.read(form, reply, None), field) == expected


@pytest.mark.parametrize(
    "reply",
    ["[[A]] or [[B]]", "A or B", "Verdict: A or B", "Verdict: C or so", "[[A]]\n[[B]]\nWho knows?"],
)
def test_two_choices_are_none(reply):
    assert not PAIR.read(Form.TEXT, reply, None).decoded


def test_a_pair_has_a_label_and_scores_have_ranks():
    assert PAIR.read(Form.SCHEMA, '{"better": "B"}', None).label == "B"
    assert SCORED.read(Form.TEXT, "Scores: 8 9", None).ranks == [2, 1]


@given(st.lists(st.floats(0, 10), min_size=1, max_size=26))
def test_ranks_of_scores_are_a_competition(scores):
    made = ranks_of(scores)
    assert competition_ranks(made) == made
    assert all(
        (a > b) == (x < y) for (a, x), (b, y) in product(zip(scores, made, strict=True), repeat=2)
    )


@given(st.lists(st.integers(0, 28), min_size=1, max_size=26))
def test_ranks_that_are_taken_keep_the_order_that_was_told(told):
    made = competition_ranks(told)
    if made is not None:
        assert ranks_of([-rank for rank in told]) == made


@pytest.mark.parametrize("name", ["score", "scores", "ranks", "better"])
def test_the_reason_comes_first_and_the_schema_is_closed(name):
    by_name = {"score": SOLO, "scores": SCORED, "ranks": ORDERED, "better": PAIR}
    told = by_name[name].request(Form.SCHEMA)["response_format"]
    assert told["type"] == "json_schema"
    assert told["json_schema"]["strict"] is True
    schema = told["json_schema"]["schema"]
    assert list(schema["properties"]) == ["reason", name]
    assert schema["required"] == ["reason", name]
    assert schema["additionalProperties"] is False
    assert "response_format" not in by_name[name].request(Form.TEXT)


def test_each_answer_has_its_place_in_the_schema():
    schema = ORDERED.request(Form.SCHEMA)["response_format"]["json_schema"]["schema"]
    inner = schema["properties"]["ranks"]
    assert inner["required"] == ["assistant_1", "assistant_2", "assistant_3"]
    assert inner["properties"]["assistant_3"]["enum"] == [1, 2, 3]


@pytest.mark.parametrize("form", Form)
@pytest.mark.parametrize(
    "unit",
    [
        "\n",
        " ",
        "a ",
        "a   b",
        "</think>",
        "<think>",
        "> ",
        "[[",
        "]]",
        "1",
        "Verdict: ",
        "or ",
        "{",
        "[",
        '"',
        "!",
    ],
)
@pytest.mark.parametrize("ends", [("", ""), ("Verdict: A or", "B")])
def test_a_long_hostile_reply_is_read_in_no_time(unit, ends, form):
    reply = f"{ends[0]}{unit * (20_000 // len(unit))}{ends[1]}"
    for assessment in (SOLO, PAIR):
        assert assessment.read(form, reply, None).rule
