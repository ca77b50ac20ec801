"""A judge may be held to the form that it was asked for: what it says in sentences alone is none."""

import pytest

from services.evaluator.judging.assessment import Form
from shared.protocol.evals.spec import Judge, Mode
from tests.fakes.reviews import assessed, prompt_of, task

SENTENCES = "Overall, Assistant 1 is better than Assistant 2."
OF_A_PAIR = "Overall, Assistant A is better than Assistant B."
STRICT = Judge(model="judge", prose="undecoded")


@pytest.mark.parametrize(
    ("mode", "sentences"), [(Mode.ORDERING, SENTENCES), (Mode.PAIRWISE, OF_A_PAIR)]
)
@pytest.mark.parametrize("form", Form)
def test_sentences_are_read_unless_the_judge_is_held_to_its_form(mode, sentences, form):
    verdict = assessed(task(mode, "a", "b")).read(form, sentences, None)
    assert (verdict.ranks, verdict.confidence) == ([1, 2], "low")
    strict = assessed(task(mode, "a", "b", judge=STRICT))
    verdict = strict.read(form, sentences, None)
    assert (verdict.decoded, verdict.rule) == (False, "prose_only")


@pytest.mark.parametrize("form", Form)
def test_the_form_itself_is_read_all_the_same(form):
    strict = assessed(task(Mode.ORDERING, "a", "b", judge=STRICT))
    for reply in (
        "Assistant 1 > Assistant 2",
        f"{SENTENCES}\nAssistant 1 > Assistant 2",
        '{"reason": "x", "ranks": {"assistant_1": 1, "assistant_2": 2}}',
    ):
        verdict = strict.read(form, reply, None)
        assert (verdict.ranks, verdict.confidence) == ([1, 2], "high")


@pytest.mark.parametrize(
    ("language", "told"), [("en", "in sentences only"), ("zh", "只用句子说出")]
)
def test_the_judge_is_told_why_it_is_asked_again(language, told):
    strict = assessed(task(Mode.ORDERING, "a", "b", judge=STRICT, language=language))
    verdict = strict.read(Form.TEXT, SENTENCES, None)
    assert told in prompt_of(strict.again(Form.TEXT, SENTENCES, verdict))
