"""Rates of how candidates answer: of which answers, with which interval, and what is left out."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.evaluator.analysis.answers import answer_metrics
from services.evaluator.analysis.bootstrap import Bootstrap
from services.evaluator.analysis.figures import wilson
from services.evaluator.analysis.rows import AnswerRow

BOOTSTRAP = Bootstrap(0, 100)
ENGLISH = "Bees make honey from nectar, and they share the work of the hive all summer long."
FRENCH = "Les abeilles font du miel avec le nectar et se partagent le travail de la ruche."
REFUSAL = "I'm sorry, but I can't help with that."


def values_of(rows, *metrics):
    (found,), notes = answer_metrics(rows, ["a"], metrics, BOOTSTRAP)
    return found.values, notes


def rows_of(*texts, language=None, **fields):
    return [
        AnswerRow(str(place), None, language, "a", text, **fields)
        for place, text in enumerate(texts)
    ]


def test_refusals_are_a_rate_with_wilsons_interval():
    values, notes = values_of(rows_of(REFUSAL, ENGLISH, REFUSAL, ENGLISH, ENGLISH), "refusal_rate")
    figure = values["refusal_rate"]
    assert (figure.value, figure.n) == (0.4, 5)
    assert figure.interval == wilson(2, 5)
    assert notes == []


def test_a_refusal_in_a_later_turn_counts():
    rows = rows_of("x", turns=(ENGLISH, REFUSAL))
    assert values_of(rows, "refusal_rate")[0]["refusal_rate"].value == 1


def test_an_answer_should_be_in_the_language_that_is_stated():
    rows = rows_of(ENGLISH, FRENCH, "Oui.", FRENCH, FRENCH, language="fr", asked=ENGLISH)
    figure = values_of(rows, "language_match")[0]["language_match"]
    assert (figure.value, figure.n, figure.undecoded) == (0.75, 4, 1)
    assert figure.interval == wilson(3, 4)


def test_without_a_stated_one_in_that_of_the_question():
    assert match(ENGLISH, asked=ENGLISH) == (1, 1, 0)
    assert match(ENGLISH, asked=FRENCH) == (0, 1, 0)
    # Of a question that is too short nothing is expected, nor in a language that nobody knows.
    assert match(ENGLISH, asked="2 + 2?") == (None, 0, 1)
    assert match(ENGLISH, asked=ENGLISH, language="mixed") == (None, 0, 1)


def match(text, **fields):
    figure = values_of(rows_of(text, **fields), "language_match")[0]["language_match"]
    return figure.value, figure.n, figure.undecoded


def test_without_the_library_it_is_not_computed_and_what_to_install_is_told():
    code = (
        "import sys; sys.modules['py3langid'] = None\n"
        "from services.evaluator.analysis.answers import answer_metrics\n"
        "from services.evaluator.analysis.bootstrap import Bootstrap\n"
        "from services.evaluator.analysis.rows import AnswerRow\n"
        "rows = [AnswerRow('1', None, 'en', 'a', 'x')]\n"
        "(found,), notes = answer_metrics(rows, ['a'], ['language_match'], Bootstrap(0, 10))\n"
        "print(found.values['language_match'].value, notes[0].text)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "None language match is not computed: install py3langid\n"


def test_pace_is_of_answers_that_were_made_in_the_run():
    rows = [
        AnswerRow("1", None, "en", "a", "x", seconds=2.0, tokens=100),
        AnswerRow("2", None, "en", "a", "y", seconds=4.0, tokens=50),
        AnswerRow("3", None, "en", "a", "z", seconds=None, tokens=70),
    ]
    values, _ = values_of(rows, "latency")
    seconds, rate = values["seconds"], values["tokens_per_second"]
    assert (seconds.value, seconds.n, seconds.undecoded) == (3, 2, 1)
    assert (rate.value, rate.n, rate.undecoded) == (25, 2, 1)
    assert rate.interval.low <= 25 <= rate.interval.high
    assert values_of(rows[2:], "latency")[0]["seconds"].value is None


@pytest.mark.parametrize(
    ("text", "references", "expected"),
    [
        ("kitten", ("sitting",), 8 / 13),
        ("same", ("same",), 1),
        ("same ", ("other", "same"), 1),
        ("", ("",), 1),
        ("", ("x",), 0),
        ("你好世界", ("你好",), 2 / 3),
    ],
)
def test_similarity_is_the_share_of_characters_in_the_same_order(text, references, expected):
    rows = rows_of(text, references=references)
    figure = values_of(rows, "similarity")[0]["similarity"]
    assert (figure.value, figure.n) == (pytest.approx(expected), 1)


@given(st.text("abc", max_size=20), st.text("abc", max_size=20))
def test_similarity_is_the_same_both_ways_and_a_share(one, other):
    there, back = (
        values_of(rows_of(text, references=(reference,)), "similarity")[0]["similarity"].value
        for text, reference in ((one, other), (other, one))
    )
    assert there == pytest.approx(back)
    assert 0 <= there <= 1


def test_texts_that_are_too_long_for_similarity_are_left_out():
    rows = rows_of("x" * 20_001, "x", references=("x",))
    values, notes = values_of(rows, "similarity")
    assert values["similarity"].n == 1
    assert "1 of 2 answers are not in similarity" in notes[0].text
    assert notes[0].text.endswith("20000 characters")
