"""Scores weighted by their likelihood; what does not fit leaves the written score."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.evaluator.judging.assessment import Form
from shared.protocol.evals.spec import Judge, Mode
from tests.fakes.reviews import assessed, task

WEIGHED = Judge(model="judge", logprobs=True)


def pieces(*tokens, **others):
    """Return logprobs of `tokens`; `others` are the likelihoods in the place of a number."""
    return [
        {
            "token": token,
            "logprob": -0.1,
            "top_logprobs": [
                {"token": other[1:], "logprob": math.log(chance)}
                for other, chance in others.items()
            ]
            if token.strip().isdigit()
            else [],
        }
        for token in tokens
    ]


def read(reply, logprobs, count=1, form=Form.TEXT, judge=WEIGHED):
    return assessed(task(Mode.SCORING, *["Swifts do."] * count, judge=judge)).read(
        form, reply, logprobs
    )


TEXT = ("It", " is", " right", ".\n", "Score", ":", " ", "8")
OBJECT = ('{"', "reason", '":"', "It says ", '\\"score\\": 3', '","', "score", '":', "8", "}")


@pytest.mark.parametrize(("tokens", "form"), [(TEXT, Form.TEXT), (OBJECT, Form.SCHEMA)])
def test_a_score_is_the_mean_of_what_might_stand_there(tokens, form):
    verdict = read("".join(tokens), pieces(*tokens, _8=0.5, _6=0.25, _10=0.25), form=form)
    assert verdict.scores == [pytest.approx(8.0)]
    verdict = read("".join(tokens), pieces(*tokens, _8=0.6, _7=0.2, _10=0.1, _x=0.1), form=form)
    assert verdict.scores == [pytest.approx((0.6 * 8 + 0.2 * 7 + 0.1 * 10) / 0.9)]
    assert verdict.rule.endswith("+logprobs")


def test_each_of_several_scores_has_its_place():
    tokens = ("Scores", ":", " ", "8", " ", "6")
    entries = pieces(*tokens, _8=0.5, _6=0.5)
    verdict = read("".join(tokens), entries, count=2)
    assert verdict.scores == [pytest.approx(7), pytest.approx(7)]


def test_numbers_out_of_the_scale_weigh_nothing():
    verdict = read("".join(TEXT), pieces(*TEXT, _8=0.6, _80=0.2, _0=0.2))
    assert verdict.scores == [pytest.approx(8)]


def test_a_digit_that_may_become_a_ten_weighs_nothing():
    verdict = read("".join(TEXT), pieces(*TEXT, _8=0.6, _6=0.2, _1=0.2))
    assert verdict.scores == [pytest.approx((0.6 * 8 + 0.2 * 6) / 0.8)]


UNFIT = {
    "none": [],
    "another text": pieces("Score", ":", "8", _8=1),
    "no numbers": pieces(*TEXT, _a=0.9),
    "too little": pieces(*TEXT, _8=0.2),
    "not the written one": pieces(*TEXT, _6=0.9),
    "malformed": [{"token": token, "top_logprobs": [{"token": 8}, None, 3]} for token in TEXT],
    "no tokens": [{"bytes": []}, None, 5],
    "no likelihood": [
        {"token": token, "top_logprobs": [{"token": "8", "logprob": 4.0}]} for token in TEXT
    ],
}


@pytest.mark.parametrize("logprobs", UNFIT.values(), ids=UNFIT)
def test_what_does_not_fit_leaves_the_written_score(logprobs):
    verdict = read("".join(TEXT), logprobs)
    assert verdict.scores == [8]
    assert not verdict.rule.endswith("+logprobs")


def test_a_number_in_two_pieces_is_as_it_is_written():
    tokens = ("Score", ": ", "1", "0")
    assert read("".join(tokens), pieces(*tokens, _1=0.9, _0=0.05)).scores == [10]
    tokens = ("Score", ": ", "8", ".5")
    assert read("".join(tokens), pieces(*tokens, _8=0.9)).scores == [8.5]


def test_who_does_not_ask_for_likelihoods_gets_none():
    verdict = read("".join(TEXT), pieces(*TEXT, _8=0.5, _6=0.5), judge=Judge(model="judge"))
    assert verdict.scores == [8]


def test_orders_have_none():
    assessment = assessed(task(Mode.ORDERING, "a b", "c d", judge=WEIGHED))
    verdict = assessment.read(
        Form.TEXT, "Assistant 1 > Assistant 2", pieces("Assistant 1 > Assistant 2")
    )
    assert verdict.ranks == [1, 2]


ANY = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["token", "top_logprobs", "logprob"]), inner)
    ),
    max_leaves=8,
)


@given(st.lists(ANY, max_size=6))
def test_no_logprobs_are_an_exception(logprobs):
    assert read("".join(TEXT), logprobs).scores == [8]
