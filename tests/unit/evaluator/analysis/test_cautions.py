"""What a reader must know is said, and not where there is no reason."""

import pytest

from services.evaluator.analysis.cautions import family
from services.evaluator.analysis.results import results_of
from services.evaluator.analysis.rows import AnswerRow
from tests.fakes.judged_worlds import options, review


def codes(reviews, answers=(), **told):
    lineup = dict.fromkeys(name for each in reviews for name in each.lineup)
    warnings = results_of(reviews, answers, options(lineup, resamples=50, **told)).warnings
    return {warning.code for warning in warnings}


def fair(questions=40, names=("ours", "theirs"), **others):
    """Verdicts in both orders, some of each kind: nothing to be said of them."""
    return [
        review(q, lineup, ranks, **others)
        for q in range(questions)
        for lineup, ranks in ((names, (1, 2)), (names[::-1], (1, 2) if q % 3 else (2, 1)))
    ]


def test_a_sound_run_has_no_warning():
    answers = [AnswerRow(str(q), None, None, name, f"{q}") for q in range(40) for name in "ab"]
    assert codes(fair(), answers) == set()


def test_each_reason_has_its_warning():
    assert codes(fair(questions=20)) == {"few_questions"}
    assert codes([*fair(), review(1, ("ours", "theirs"))]) == {"undecoded"}
    assert codes([*fair(questions=60), review(1, ("ours", "theirs"))]) == set()
    assert codes(fair(), complete=False) == {"incomplete"}
    assert codes(fair(), errored=3) == {"errored"}
    changed = [*fair(model_version="v1"), *fair(model_version="v2", repeat=1)]
    assert codes(changed) == {"judge_changed"}
    assert codes([review(q, "ab", (1, 1)) for q in range(40)]) == {"mostly_ties", "one_order"}


def test_answers_that_are_always_the_same_are_told():
    answers = [AnswerRow(str(q), None, None, "ours", "I win.") for q in range(30)]
    answers += [AnswerRow(str(q), None, None, "ours", f"{q}") for q in range(30, 40)]
    assert codes(fair(), answers) == {"constant_answers"}
    assert codes(fair(), answers[:3]) == set()


def test_a_baseline_that_always_wins_tells_nobody_apart():
    reviews = [
        review(q, lineup, (1, 2) if lineup[0] == "base" else (2, 1))
        for q in range(60)
        for lineup in (("base", "x"), ("x", "base"))
    ]
    reviews[3] = review(1, ("x", "base"), (1, 2))
    assert codes(reviews, baseline="base") == {"baseline_saturated"}
    assert codes(reviews) == set()


def test_a_judge_of_a_candidates_family_may_favour_its_own():
    assert codes(fair(names=("gpt-3.5-turbo", "phoenix-7b"), judge="openai/gpt-4o")) == {
        "judge_family"
    }
    told = {"models": {"ours": "Qwen/Qwen2.5-7B-Instruct"}}
    assert codes(fair(judge="qwen-max"), **told) == {"judge_family"}
    assert codes(fair(judge="ours")) == {"judge_family"}


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("gpt-4", "gpt"),
        ("azure/chatgpt-4o-latest", "gpt"),
        ("o3-mini", "gpt"),
        ("meta-llama/Llama-3.1-8B", "llama"),
        ("Qwen2.5-7B", "qwen"),
        ("4-bit", ""),
        ("", ""),
    ],
)
def test_families_go_by_the_letters_that_a_name_begins_with(model, expected):
    assert family(model) == expected


def test_models_without_letters_are_no_family():
    assert codes(fair(names=("7", "8"), judge="9")) == set()


def test_parts_that_are_too_many_are_left_out_and_that_is_told():
    reviews = [
        review(q, "ab", (1, 2), category=f"c{q}", dimension=dimension)
        for q in range(90)
        for dimension in ("general", "depth")
    ]
    results = results_of(reviews, [], options("ab", resamples=20))
    assert len(results.scopes) == 160
    left = next(each for each in results.warnings if each.code == "scopes_left_out")
    # Overall, two dimensions, 90 categories, and the categories of each dimension.
    assert left.text.startswith(str(1 + 2 + 90 + 180 - 160))
