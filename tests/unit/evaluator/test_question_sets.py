"""Our own question sets: how many, in which languages, and that their references are right."""

from __future__ import annotations

import contextlib
import io
import re
from collections import Counter
from fractions import Fraction
from itertools import combinations, permutations, product
from math import comb, gcd, hypot, isqrt

import pytest

from services.evaluator.questions import NAMES, load
from shared.errors import NotFound

CATEGORIES = {
    "generic", "knowledge", "roleplay", "common-sense", "fermi",
    "counterfactual", "writing", "coding", "math", "ethics",
}  # fmt: skip
CHINESE = re.compile("[\u4e00-\u9fff]")
CODE = re.compile(r"```python\n(.*?)```", re.DOTALL)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_set_has_at_least_eight_questions_of_each_category(language):
    questions = load(language)
    counts = Counter(question.category for question in questions)
    assert set(counts) == CATEGORIES
    assert min(counts.values()) >= 8
    assert len(questions) >= 84
    assert {question.language for question in questions} == {language}
    for question in questions:
        assert re.fullmatch(rf"{language}-{question.category}-\d\d", question.id)
        assert all(turn == turn.strip() for turn in question.turns)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_third_has_a_second_turn(language):
    questions = load(f"{language}-two-turn")
    assert len(questions) >= 28
    assert {len(question.turns) for question in questions} == {2}
    assert {question.category for question in questions} == CATEGORIES
    assert {question.id for question in questions} < {each.id for each in load(language)}


def test_both_languages_are_one_set_without_a_question_twice():
    both = load("en+zh")
    assert both == load("en") + load("zh")
    ids = [question.id for question in both]
    assert len(set(ids)) == len(ids)
    assert set(NAMES) == {"en", "zh", "en+zh", "en-two-turn", "zh-two-turn"}
    with pytest.raises(NotFound, match="en-two-turn"):
        load("fr")


def test_each_is_written_in_its_language():
    for question in load("en"):
        assert question.text.isascii()
    for question in load("zh"):
        prose = CODE.sub("", question.text)
        letters = [letter for letter in prose if letter.isalpha()]
        assert len(CHINESE.findall(prose)) >= 0.5 * len(letters)


def test_none_resembles_another():
    for language, size in (("en", 4), ("zh", 2)):
        pieces = {}
        for question in load(language):
            text = re.sub(r"\W", "", question.text.lower())
            pieces[question.id] = {text[at : at + size] for at in range(len(text) - size + 1)}
        for (first, a), (second, b) in combinations(pieces.items(), 2):
            assert len(a & b) / len(a | b) < 0.3, (first, second)


def output_of(question):
    (code,) = CODE.findall(question.turns[0])
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        exec(code, {})
    return told.getvalue().strip()


def test_programs_print_what_their_references_say():
    asked = [
        question
        for question in load("en+zh")
        if "program print" in question.turns[0] or "程序会输出什么" in question.turns[0]
    ]
    assert len(asked) == 4
    for question in asked:
        assert question.references == [output_of(question)]


def steps_of(question, name, n):
    scope = {}
    exec(CODE.findall(question.turns[0])[0], scope)
    return scope[name](n)


def test_complexities_are_what_the_references_say():
    questions = {question.id: question for question in load("en+zh")}
    halve, marks = questions["zh-coding-06"], questions["en-coding-06"]
    assert (halve.references, marks.references) == (["O(n)"], ["O(n log n)"])
    assert steps_of(halve, "halve", 2**16) / steps_of(halve, "halve", 2**12) == pytest.approx(
        16, rel=0.01
    )
    growth = steps_of(marks, "marks", 2**16) / steps_of(marks, "marks", 2**12)
    assert 16 < growth < 24


def test_patterns_match_what_the_references_say():
    questions = {question.id: question for question in load("en+zh")}
    for question_id, texts, right in (
        ("en-coding-09", ("24:00", "7:30", "07:3", "19:05"), {"19:05"}),
        ("zh-coding-09", ("0", "00", "7", "012", "12"), {"7", "12"}),
    ):
        (reference,) = questions[question_id].references
        pattern = re.search(r"\^.*\$", reference).group()
        assert {text for text in texts if re.search(pattern, text)} == right
        assert all(text in reference for text in right)


def twice_in_a_row(chance):
    """Return the expected tries until something of this chance happens twice in a row."""
    return (1 + chance) / chance**2


def rectangle():
    side = next(a for a in range(1, 23) if hypot(a, 23 - a) == 17)
    return side * (23 - side), (23 - 17) // 2


def drawn():
    balls = list(combinations([1] * 5 + [0] * 4, 3))
    back = Fraction(comb(3, 2) * 5**2 * 4, 9**3)
    return Fraction(sum(sum(each) == 2 for each in balls), len(balls)), back


def squares():
    values = {n: n * n + 7 * n + 6 for n in range(-1000, 1000)}
    return [n for n, value in values.items() if value >= 0 and isqrt(value) ** 2 == value]


def even_sums():
    sets = list(combinations(range(1, 10), 3))
    return Fraction(sum(sum(each) % 2 == 0 for each in sets), len(sets))


def first_above(bound):
    total = count = 0
    while total <= bound:
        total += 1 + 3 * count
        count += 1
    return count, total


FILL, DRAIN = Fraction(1, 6), Fraction(1, 14)
VALUES = {
    "en-math-01": [1 / (FILL - DRAIN), 2 + (1 - 2 * FILL) / (FILL - DRAIN)],
    "en-math-02": [sum((10 * d[2] + d[3]) % 4 == 0 for d in permutations(range(1, 6), 4))],
    "en-math-03": [Fraction(sum(a * b % 6 == 0 for a, b in product(range(1, 7), repeat=2)), 36)],
    "en-math-04": list(drawn()),
    "en-math-05": squares(),
    "en-math-06": [(148 + 5) / (Fraction(120, 100) * Fraction(85, 100))],
    "en-math-07": [pow(7, 2026, 13)],
    "en-math-08": list(rectangle()),
    "en-math-09": [twice_in_a_row(Fraction(1, 6))],
    "zh-math-01": [
        120 * Fraction(12, 10) - 120, 20, "七五折" if 120 * 1.125 == 180 * 0.75 else None,
    ],
    "zh-math-02": [(370 - Fraction(3, 2) * 60) / (60 + 80)],
    "zh-math-03": [sum((n % 3 == 0) != (n % 5 == 0) for n in range(1, 1001))],
    "zh-math-04": [comb(7, 2), sum(len(set(p)) == 3 for p in product(range(3), repeat=8))],
    "zh-math-05": [
        sum(sum(each) >= 2 for each in combinations([0] * 6 + [1] * 4, 4)),
    ],
    "zh-math-06": [(3**2 - 2) ** 2 - 2],
    "zh-math-07": [3, Fraction(180, 11), 16, Fraction(180, 11) - 16],
    "zh-math-08": [1 + 19 * 3, *first_above(1000)],
    "zh-math-09": [even_sums()],
}  # fmt: skip


@pytest.mark.parametrize("question_id", VALUES)
def test_numbers_in_references_are_computed(question_id):
    (reference,) = next(each for each in load("en+zh") if each.id == question_id).references
    numbers = re.findall(r"-?\d+(?:\.\d+)?(?:/\d+)?", reference)
    told = {Fraction(number) for number in numbers}
    for value in VALUES[question_id]:
        if isinstance(value, str):
            assert value in reference
        else:
            assert Fraction(value) in told or all(
                part in told for part in Fraction(value).as_integer_ratio()
            )
    assert all(gcd(*map(int, each.split("/"))) == 1 for each in numbers if "/" in each)


def test_every_question_in_mathematics_has_a_reference_that_is_checked():
    with_one = {question.id for question in load("en+zh") if question.category == "math"}
    assert with_one == set(VALUES)
