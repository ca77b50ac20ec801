"""OpenAI's graders grade as its documentation says."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.evaluator.judging.assessment import Form
from services.evaluator.judging.graders.similarity import (
    SIMILARITY_METRICS,
    common_length,
    similarity,
)
from services.evaluator.judging.graders.templates import placeholders, rendered
from shared.errors import InvalidSpec
from shared.protocol.evals.spec import Grader, Message
from tests.fakes.reviews import graded, prompt_of

ITEM = {
    "question": "2 + 2",
    "answer": "4",
    "deep": {"list": [{"x": "{{item.answer}}"}]},
    "none": None,
}


def check(operation, output, reference="{{item.answer}}", text="{{sample.output_text}}"):
    grader = Grader(
        type="string_check", name="g", input=text, reference=reference, operation=operation
    )
    assessment = graded(grader, output, item=ITEM)
    assert assessment.forms == ()
    return assessment.local()


@pytest.mark.parametrize(
    ("operation", "output", "passed"),
    [
        ("eq", "4", True),
        ("eq", "4 ", False),
        ("ne", "5", True),
        ("ne", "4", False),
        ("like", "It is 4.", True),
        ("like", "It is four.", False),
    ],
)
def test_strings_are_checked(operation, output, passed):
    verdict = check(operation, output)
    assert (verdict.passed, verdict.scores) == (passed, [float(passed)])


def test_only_ilike_is_blind_to_case():
    assert check("ilike", "PARIS it is", reference="paris").passed is True
    assert check("like", "PARIS it is", reference="paris").passed is False
    assert check("eq", "Paris", reference="paris").passed is False


def test_placeholders_reach_into_the_item_and_are_filled_in_once():
    assert check(
        "eq", "x", text="{{ item.deep.list[0].x }}", reference="{{item.deep.list.0.x}}"
    ).passed
    values = {"item": ITEM, "sample": {"output_text": "{{item.question}}"}}
    assert (
        rendered("{{sample.output_text}} {{item.deep.list[0].x}}", values)
        == "{{item.question}} {{item.answer}}"
    )
    assert (
        rendered("{{item.deep}}|{{item.none}}", values) == '{"list": [{"x": "{{item.answer}}"}]}|'
    )
    assert placeholders("{{item.a.b[0]}} {{ sample.output_text }} {x}") == [
        ("item", "a", "b", "0"),
        ("sample", "output_text"),
    ]


def test_an_answer_in_json_can_be_read_by_its_parts():
    assert check("eq", '{"value": 4}', text="{{sample.output_json.value}}").passed
    assert check("eq", "no json", text="{{sample.output_json.value}}").rule == "missing_value"


@pytest.mark.parametrize(
    "path",
    ["item.no", "item.deep.list[7].x", "item.answer.x", "other", "sample.no", "item.__class__"],
)
def test_what_is_not_there_leaves_the_item_undecoded(path):
    verdict = check("eq", "4", text="{{" + path + "}}")
    assert not verdict.decoded
    assert verdict.rule == "missing_value"
    grader = Grader(type="score_model", name="g", model="judge", input="{{" + path + "}}")
    assessment = graded(grader, "4", item=ITEM)
    assert assessment.forms == ()
    assert assessment.local().rule == "missing_value"


def test_a_question_of_no_dataset_is_the_item_itself():
    grader = Grader(
        type="string_check",
        name="g",
        operation="eq",
        input="{{sample.output_text}}",
        reference="{{item.reference}}",
    )
    assert graded(grader, "Swifts", references=["Swifts", "Owls"]).local().passed is True


LABEL = Grader(
    type="label_model",
    name="g",
    model="labeller",
    input=[
        Message(role="developer", content="Say whether the answer is right."),
        Message(role="user", content="{{item.question}} is {{sample.output_text}}"),
    ],
    labels=["right", "wrong", "not sure"],
    passing_labels=["right"],
    sampling_params={"max_completions_tokens": 99, "temperature": 1, "seed": 5},
)


def test_a_grader_that_reasons_is_asked_by_the_names_that_it_takes():
    reasons = LABEL.model_copy(
        update={"sampling_params": {"reasoning_effort": "low", "max_completions_tokens": 99}}
    )
    body = graded(reasons, "4", item=ITEM).request(Form.SCHEMA)
    assert (body["max_completion_tokens"], body["reasoning_effort"]) == (99, "low")
    assert body.keys().isdisjoint({"max_tokens", "temperature"})


def test_the_form_of_a_label_is_json_when_it_is_filled_in():
    assessment = graded(LABEL, "4", item=ITEM)
    told = assessment.request(Form.SCHEMA)["messages"][-1]["content"].splitlines()[-1]
    verdict = assessment.read(Form.SCHEMA, told.replace("X", "wrong"), None)
    assert (verdict.rule, verdict.label, verdict.passed) == ("schema", "wrong", False)


def test_a_model_is_asked_for_a_label_with_the_users_own_messages():
    body = graded(LABEL, "<|im_end|>4", item=ITEM).request(Form.SCHEMA)
    assert body["model"] == "labeller"
    assert (body["max_tokens"], body["temperature"], body["seed"]) == (99, 1, 5)
    first, second = body["messages"]
    assert first == {"role": "developer", "content": "Say whether the answer is right."}
    assert second["content"].startswith("2 + 2 is <·|im_end|>4\n\n")
    schema = body["response_format"]["json_schema"]["schema"]
    assert list(schema["properties"]) == ["reason", "label"]
    assert schema["properties"]["label"]["enum"] == ["right", "wrong", "not sure"]


@pytest.mark.parametrize(
    ("reply", "label"),
    [
        ('{"reason": "Sums up.", "label": "right"}', "right"),
        ('{"reason": "Sums up.", "label": "not sure"}', "not sure"),
        ("It sums up.\nLabel: Right", "right"),
        ("It does not.\n**wrong**", "wrong"),
        ('{"reason": "Sums up.", "label": "Right"}', None),
        ("right or wrong", None),
        ("Label: rightish", None),
        ("", None),
    ],
)
def test_a_label_is_one_of_those_given(reply, label):
    verdict = graded(LABEL, "It is 4", item=ITEM).read(Form.SCHEMA, reply, None)
    assert verdict.label == label
    assert verdict.passed == (None if label is None else label == "right")


def scored(threshold=None, bounds=None):
    grader = Grader(
        type="score_model",
        name="g",
        model="scorer",
        input=[Message(role="system", content="Score {{sample.output_text}}")],
        range=bounds,
        pass_threshold=threshold,
    )
    return graded(grader, "It is 4", item=ITEM)


@pytest.mark.parametrize(
    ("bounds", "threshold", "told", "passed"),
    [(None, 0.5, 0.5, True), (None, 0.5, 0.4, False), ((0, 10), 7, 8, True), (None, None, 1, None)],
)
def test_a_score_passes_at_the_threshold(bounds, threshold, told, passed):
    verdict = scored(threshold, bounds).read(
        Form.SCHEMA, json.dumps({"reason": "So.", "score": told}), None
    )
    assert (verdict.scores, verdict.passed) == ([told], passed)


def test_a_score_keeps_to_its_range():
    assert scored().read(Form.SCHEMA, '{"score": 2}', None).rule == "out_of_range"
    body = scored().request(Form.SCHEMA)
    score = body["response_format"]["json_schema"]["schema"]["properties"]["score"]
    assert (score["minimum"], score["maximum"]) == (0, 1)
    assert "from 0 (worst) to 1 (best)" in prompt_of(body)
    assert [message["role"] for message in body["messages"]] == ["system", "user"]


def test_a_grader_is_asked_again_like_any_judge():
    assessment = graded(LABEL, "It is 4", item=ITEM)
    body = assessment.again(Form.TEXT, "hm", assessment.read(Form.TEXT, "hm", None))
    assert [message["role"] for message in body["messages"]] == [
        "developer",
        "user",
        "assistant",
        "user",
    ]


def test_sampling_out_of_range_is_a_fault_of_the_spec():
    grader = LABEL.model_copy(update={"sampling_params": {"temperature": 9.0}})
    with pytest.raises(InvalidSpec):
        graded(grader, "4", item=ITEM)


@pytest.mark.parametrize("metric", sorted(SIMILARITY_METRICS))
def test_likeness_is_a_share(metric):
    same = "The common swift sleeps while it flies over the sea"
    assert similarity(metric, same, same) == pytest.approx(1)
    assert similarity(metric, "zzz", same) == pytest.approx(0, abs=0.1)
    assert 0 < similarity(metric, "The common swift sleeps while it flies by day", same) < 1
    assert similarity(metric, "", same) == 0


@pytest.mark.parametrize("metric", sorted(SIMILARITY_METRICS))
def test_chinese_and_japanese_have_words_too(metric):
    for text in ("雨燕可以在飞行中睡觉", "アマツバメは飛びながら眠る"):
        assert similarity(metric, text, text) == pytest.approx(1)
        assert 0 < similarity(metric, text, f"{text}かもしれない") < 1


@pytest.mark.parametrize("metric", ["cosine", "meteor", "", "rouge_9"])
def test_what_cannot_be_computed_is_refused(metric):
    with pytest.raises(InvalidSpec):
        similarity(metric, "a", "b")


def test_similarity_passes_at_its_threshold():
    grader = Grader(
        type="text_similarity",
        name="g",
        input="{{sample.output_text}}",
        reference="{{item.answer}}",
        evaluation_metric="fuzzy_match",
        pass_threshold=0.5,
    )
    assert graded(grader, "4", item=ITEM).local().passed is True
    assert graded(grader, "five", item=ITEM).local().passed is False


WORDS = st.lists(
    st.sampled_from(["swift", "owl", "sleeps", "over", "the", "sea"]), max_size=12
).map(" ".join)


@settings(deadline=None)
@given(WORDS, WORDS)
def test_rouge_and_gleu_are_those_of_other_packages(text, reference):
    from nltk.translate.gleu_score import sentence_gleu  # noqa: PLC0415
    from rouge_score.rouge_scorer import RougeScorer  # noqa: PLC0415

    names = {"rouge_1": "rouge1", "rouge_2": "rouge2", "rouge_5": "rouge5", "rouge_l": "rougeL"}
    theirs = RougeScorer(list(names.values())).score(reference, text)
    for ours, name in names.items():
        assert similarity(ours, text, reference) == pytest.approx(theirs[name].fmeasure)
    if text and reference:
        gleu = sentence_gleu([reference.split()], text.split())
        assert similarity("gleu", text, reference) == pytest.approx(gleu)


@given(st.text("abc", max_size=9), st.text("abc", max_size=9))
def test_the_longest_common_subsequence(first, second):
    table = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            table[i + 1][j + 1] = (
                table[i][j] + 1 if a == b else max(table[i][j + 1], table[i + 1][j])
            )
    assert common_length(first, second) == table[-1][-1]
