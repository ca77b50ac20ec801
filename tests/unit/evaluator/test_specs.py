"""A spec is taken whole, or refused with all of its faults at once."""

import pytest

from services.evaluator.specs import MAX_FAULTS, parse_eval, parse_run
from shared.errors import InvalidSpec
from shared.protocol.evals import MAX_QUESTIONS, MAX_TEXT

GOOD = {
    "questions": [{"text": "a"}, {"id": "mine", "text": "b", "category": "fermi"}, {"text": "c"}],
    "dimensions": ["general"],
    "mode": "scoring",
    "judge": {"model": "judge"},
}


def faults_of(parse, body):
    with pytest.raises(InvalidSpec) as caught:
        parse(body)
    assert caught.value.status == 422
    told = caught.value.as_openai()["error"]["errors"]
    assert [(fault["pointer"], fault["message"]) for fault in told] == caught.value.faults
    return dict(caught.value.faults)


def test_questions_without_an_id_get_their_place():
    assert [question.id for question in parse_eval(GOOD).questions] == ["1", "mine", "3"]


def test_all_faults_of_an_eval_are_told_at_once():
    faults = faults_of(
        parse_eval,
        {
            "name": "n" * 201,
            "questions": [
                {},
                {"text": " \n"},
                {"text": 3, "colour": "red"},
                {"text": "x" * (MAX_TEXT + 1)},
                {"id": "1", "text": "the first one's id"},
            ],
            "dimensions": ["general", "relevance", "beauty", "general"],
            "mode": "pairwise",
            "judge": {"model": "", "logprobs": True},
            "swap": "both",
            "a/b": 1,
        },
    )
    assert set(faults) == {
        "/name",
        "/questions/0/text",
        "/questions/1/text",
        "/questions/2/text",
        "/questions/2/colour",
        "/questions/3/text",
        "/questions/4/id",
        "/dimensions/1",
        "/dimensions/2",
        "/dimensions/3",
        "/mode",
        "/judge/model",
        "/judge/logprobs",
        "/swap",
        "/a~1b",
    }
    not_yet = {pointer for pointer, text in faults.items() if "not served yet" in text}
    assert not_yet == {"/dimensions/1", "/mode", "/judge/logprobs", "/swap"}


def test_all_faults_of_a_run_are_told_at_once():
    faults = faults_of(
        parse_run,
        {
            "candidates": [{"model": "a"}, {"model": "b"}],
            "temperature": 3,
            "max_tokens": 1.5,
            "dry_run": True,
        },
    )
    assert set(faults) == {"/candidates", "/temperature", "/max_tokens", "/dry_run"}
    assert faults["/candidates"] == "more than one is not served yet"


@pytest.mark.parametrize("missing", GOOD)
def test_each_part_is_needed(missing):
    body = {name: value for name, value in GOOD.items() if name != missing}
    assert faults_of(parse_eval, body) == {f"/{missing}": "is missing"}


@pytest.mark.parametrize("value", [None, 1, "x", [1], {"a": 1}])
@pytest.mark.parametrize("part", ["questions", "dimensions", "mode", "judge"])
def test_a_part_of_a_wrong_type_is_named(part, value):
    faults = faults_of(parse_eval, {**GOOD, part: value})
    assert all(pointer.startswith(f"/{part}") for pointer in faults)


def test_the_number_of_questions_and_of_faults_is_bounded():
    many = [{"text": "?"}] * (MAX_QUESTIONS + 1)
    assert set(faults_of(parse_eval, {**GOOD, "questions": many})) == {"/questions"}
    with pytest.raises(InvalidSpec) as caught:
        parse_eval({**GOOD, "questions": [{}] * MAX_QUESTIONS})
    assert len(caught.value.faults) == MAX_FAULTS + 1


def test_a_fault_does_not_quote_the_text():
    faults = faults_of(parse_eval, {**GOOD, "questions": [{"text": ["confidential"]}]})
    assert "confidential" not in str(faults)
