"""What a judge is told: all of the material, bounded, in the question's language, nothing else."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.evaluator.judging.assessment import Form
from services.evaluator.judging.dimensions import load_dimensions
from services.evaluator.judging.wording import Language
from shared.errors import InvalidSpec
from shared.protocol.evals.spec import Judge, JudgeSampling, Message, Mode, Rubric
from tests.fakes.reviews import QUESTION, assessed, prompt_of, task

DIMENSIONS = ["general", "relevance", "diversity", "coherence", "immersion", "integrity"]
SHAPES = [(Mode.SCORING, 1), (Mode.SCORING, 3), (Mode.ORDERING, 26), (Mode.PAIRWISE, 2)]


def prompt(review, dimension="general", form=Form.TEXT):
    return prompt_of(assessed(review, dimension).request(form))


def test_there_are_six_dimensions_in_two_languages():
    assert list(load_dimensions()) == DIMENSIONS
    for dimension in load_dimensions().values():
        english, chinese = (dimension.criteria[language] for language in Language)
        assert "better one" in english
        assert "就是更好的回答" in chinese
        for language in Language:
            assert len(dimension.anchors[language].splitlines()) == 5


@pytest.mark.parametrize("dimension", DIMENSIONS)
@pytest.mark.parametrize(
    ("tag", "language"), [("zh", "zh"), ("zh-TW", "zh"), ("ja", "en"), (None, "en")]
)
def test_the_questions_language_chooses_the_whole_prompt(dimension, tag, language):
    told = prompt(task(Mode.SCORING, "Swifts.", language=tag), dimension)
    assert load_dimensions()[dimension].criteria[Language(language)] in told
    instructions = told.replace(QUESTION, "").replace("Swifts.", "")
    assert ("answer" in instructions) is (language == "en")
    assert ("回答" in instructions) is (language == "zh")


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("dimension", DIMENSIONS)
@pytest.mark.parametrize(
    ("mode", "count", "form"), [(*shape, form) for shape in SHAPES for form in Form]
)
def test_the_instructions_alone_are_no_verdict(mode, count, form, dimension, language):
    assessment = assessed(task(mode, *["Swifts."] * count, language=language), dimension)
    told = prompt_of(assessment.request(form))
    for reply in (told, told.splitlines()[-1], "\n".join(told.splitlines()[-3:])):
        for asked in Form:
            assert not assessment.read(asked, reply, None).decoded


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize(("mode", "count"), [*SHAPES, (Mode.SCORING, 26), (Mode.ORDERING, 2)])
def test_a_judge_that_fills_in_the_form_to_the_letter_is_understood(mode, count, language):
    assessment = assessed(task(mode, *["Swifts."] * count, language=language))
    values = {Mode.SCORING: "7", Mode.ORDERING: "1", Mode.PAIRWISE: "B"}
    form = prompt_of(assessment.request(Form.SCHEMA)).splitlines()[-1]
    filled = re.sub(r"\b[NX]\b", values[mode], form.replace("...", "So it is."))
    verdict = assessment.read(Form.SCHEMA, filled, None)
    expected = [2, 1] if mode is Mode.PAIRWISE else [1] * count
    assert (verdict.rule, verdict.ranks) == ("schema", expected)


@pytest.mark.parametrize("mode", [Mode.ORDERING, Mode.PAIRWISE, Mode.SCORING])
def test_judges_are_warned_of_ties_where_they_compare(mode):
    told = prompt(task(mode, "Swifts.", "Swallows."))
    assert ("Call answers equally good" in told) is (mode is not Mode.SCORING)


def test_a_request_is_cold_bounded_and_nothing_but_the_call():
    body = assessed(task(Mode.SCORING, "Swifts.")).request(Form.TEXT)
    assert body.keys() == {"model", "messages", "temperature", "max_tokens", "seed"}
    assert (body["model"], body["temperature"], body["max_tokens"], body["seed"]) == (
        "judge",
        0,
        512,
        0,
    )
    assert body == assessed(task(Mode.SCORING, "Swifts.")).request(Form.TEXT)


def test_a_judges_sampling_is_what_the_spec_says():
    sampling = JudgeSampling(max_tokens=64, temperature=0.5, top_p=0.9, seed=7)
    judge = Judge(model="judge", sampling=sampling, logprobs=True)
    body = assessed(task(Mode.SCORING, "Swifts.", judge=judge, repeat=2)).request(Form.TEXT)
    assert (body["max_tokens"], body["temperature"], body["top_p"]) == (64, 0.5, 0.9)
    assert (body["logprobs"], body["top_logprobs"]) == (True, 20)
    assert body["seed"] == 9


def test_a_judge_that_reasons_can_be_asked_by_the_names_that_it_takes():
    sampling = JudgeSampling(max_completion_tokens=4096, temperature=None)
    review = task(Mode.SCORING, "Swifts.", judge=Judge(model="judge", sampling=sampling))
    body = assessed(review).request(Form.TEXT)
    assert body["max_completion_tokens"] == 4096
    assert body.keys().isdisjoint({"max_tokens", "temperature"})


def test_each_repeat_is_a_call_of_its_own_with_the_same_prompt():
    bodies = [
        assessed(task(Mode.ORDERING, "a", "b", repeat=repeat)).request(Form.TEXT)
        for repeat in range(3)
    ]
    assert len({body["seed"] for body in bodies}) == 3
    assert len({prompt_of(body) for body in bodies}) == 1


@pytest.mark.parametrize(
    ("wish", "forms"),
    [("auto", (Form.SCHEMA, Form.TEXT)), ("json_schema", (Form.SCHEMA,)), ("text", (Form.TEXT,))],
)
def test_a_judges_form_is_what_the_spec_says(wish, forms):
    judge = Judge(model="judge", response_format=wish)
    assert assessed(task(Mode.SCORING, "Swifts.", judge=judge)).forms == forms


def test_references_are_shown_where_the_spec_wants_them():
    review = {"references": ["The common swift.", "Frigatebirds."]}
    told = prompt(task(Mode.SCORING, "Swifts.", **review))
    assert told.index("The common swift.") < told.index("Frigatebirds.") < told.index("Swifts.")
    hidden = prompt(task(Mode.SCORING, "Swifts.", with_references=False, **review))
    assert "common swift" not in hidden
    assert "[reference" not in hidden


def test_a_conversation_is_shown_turn_by_turn():
    turns = ["Name a bird.", "And one that swims?"]
    told = prompt(task(Mode.PAIRWISE, ("Swift.", "Penguin."), ("Owl.", "Duck."), turns=turns))
    places = [
        told.index(text) for text in ("Name a bird.", "Swift.", "And one that", "Penguin.", "Owl.")
    ]
    assert places == sorted(places)
    assert told.count("Name a bird.") == 2


@pytest.mark.parametrize("turns", [1, 2])
def test_in_a_conversation_a_reference_may_be_for_one_turn(turns):
    answers = [("Swift.", "Penguin.")[:turns]] * 2
    asked = ["Name a bird.", "And one that swims?"][:turns]
    told = prompt(task(Mode.PAIRWISE, *answers, turns=asked, references=["Swift", "Duck"]))
    assert ("for one of the turns only" in told) is (turns == 2)


def test_what_came_before_the_question_is_shown():
    messages = [
        Message(role="system", content="Be a bird."),
        Message(role="user", content=QUESTION),
    ]
    told = prompt(task(Mode.SCORING, "Swifts.", messages=messages))
    assert told.index("Be a bird.") < told.index(QUESTION)
    assert told.count(QUESTION) == 1


@pytest.mark.parametrize("answers", [("", "Swifts."), (" \n ", "Swifts."), ((), "Swifts.")])
def test_an_empty_answer_is_shown_as_one(answers):
    assert prompt(task(Mode.PAIRWISE, *answers)).count("[no text ") == 1


def test_nobody_is_named():
    told = prompt(task(Mode.ORDERING, "Swifts.", "Owls."))
    assert "candidate" not in told


@pytest.mark.parametrize("count", [1, 2, 26])
def test_a_prompt_is_bounded_and_the_answers_are_cut_alike(count):
    answers = [
        f"begin{place} " + chr(0x4E00 + place) * 400_000 + f" end{place}" for place in range(count)
    ]
    review = task(Mode.SCORING, *answers, turns=["q" * 32_000], references=["r" * 32_000] * 5)
    told = prompt(review)
    assert len(told) < 150_000
    assert told.count("characters left out here") == count + 6
    shown = {told.count(chr(0x4E00 + place) * 100) for place in range(count)}
    assert len(shown) == 1
    for place in range(count):
        assert f"begin{place} " in told
        assert f" end{place}" in told


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=200), min_size=2, max_size=4), st.sampled_from(["en", "zh"]))
def test_each_answer_stands_once_between_lines_that_no_answer_holds(answers, language):
    body = assessed(task(Mode.ORDERING, *answers, language=language)).request(Form.TEXT)
    lines = body["messages"][1]["content"].split("\n")
    code = (
        next(line for line in lines if line.startswith(("[question", "[问题")))
        .rstrip("]")
        .split()[-1]
    )
    fences = [line for line in lines if line.startswith("[") and line.endswith(f" {code}]")]
    empty = sum(not answer.strip() for answer in answers)
    assert len(fences) == 2 + 2 * len(answers) + empty
    assert not any(code in answer for answer in answers)


def test_a_long_conversation_is_bounded_too():
    turns = ["q" * 32_000] * 16
    messages = [Message(role="user", content="m" * 32_000)] * 40
    review = task(Mode.ORDERING, *[tuple(["a" * 32_000] * 16)] * 26, turns=turns, messages=messages)
    assert len(prompt(review)) < 300_000


def test_a_rubric_is_told_as_it_stands_on_its_own_scale():
    rubric = Rubric(name="legs", criteria="Count {legs} %s {{item.x}}.", low=0, high=5)
    assessment = assessed(task(Mode.SCORING, "Two."), rubric)
    told = prompt_of(assessment.request(Form.TEXT))
    assert "Count {legs} %s {{item.x}}." in told
    assert "from 0 (worst) to 5 (best)" in told
    assert assessment.read(Form.TEXT, "Fine.\nScore: 5", None).scores == [5]
    assert assessment.read(Form.TEXT, "Fine.\nScore: 6", None).rule == "out_of_range"


@pytest.mark.parametrize("mode", [Mode.ORDERING, Mode.PAIRWISE])
def test_a_line_up_must_suit_the_mode(mode):
    with pytest.raises(InvalidSpec):
        assessed(task(mode, "one"))


def test_a_dimension_needs_a_judge():
    with pytest.raises(InvalidSpec):
        assessed(task(Mode.SCORING, "one", judge=None))


def test_asking_again_shows_the_reply_and_what_was_wrong_with_it():
    assessment = assessed(task(Mode.PAIRWISE, "Swifts.", "Owls."))
    reply = '{"better": "A", "better": "B"}'
    verdict = assessment.read(Form.SCHEMA, reply, None)
    before = assessment.request(Form.SCHEMA)
    body = assessment.again(Form.SCHEMA, reply, verdict)
    assert {**body, "messages": None} == {**before, "messages": None}
    assert body["messages"][:-2] == before["messages"]
    said, asked = body["messages"][-2:]
    assert said == {"role": "assistant", "content": reply}
    assert "twice" in asked["content"]
    assert asked["content"].splitlines()[-1] == before["messages"][1]["content"].splitlines()[-1]


def test_asking_again_after_nothing_or_too_much():
    assessment = assessed(task(Mode.SCORING, "Swifts."))
    for reply in ("", "x " * 50_000):
        body = assessment.again(Form.TEXT, reply, assessment.read(Form.TEXT, reply, None))
        assert 0 < len(body["messages"][-2]["content"]) < 10_000
