"""Alpha as evalica has it, kappa as it is defined; who is compared with whom."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from evalica import alpha
from hypothesis import given, settings
from hypothesis import strategies as st

from services.evaluator.analysis.agreement import Look, agreement_of
from services.evaluator.analysis.bootstrap import Bootstrap
from services.evaluator.analysis.results import results_of
from tests.fakes.judged_worlds import options, review

BOOTSTRAP = Bootstrap(0, 50)
ratings = st.lists(
    st.lists(st.one_of(st.none(), st.integers(1, 5)), min_size=3, max_size=3),
    min_size=2,
    max_size=12,
)


@settings(deadline=None)
@given(ratings)
def test_alpha_is_evalicas(rows):
    looks = [
        Look(
            question=place % 4,
            values=tuple(None if value is None else (float(value),) for value in row),
            ranks=tuple(None if value is None else (1,) for value in row),
        )
        for place, row in enumerate(rows)
    ]
    found = agreement_of("judges", ["x", "y", "z"], looks, BOOTSTRAP)
    kept = [row for row in rows if sum(value is not None for value in row) > 1]
    if not kept:
        assert found is None
        return
    frame = pd.DataFrame(np.array(kept, dtype=float).T)
    if len({value for row in kept for value in row if value is not None}) == 1:
        assert found.alpha.value is None
        return
    assert found.alpha.value == pytest.approx(alpha(frame, distance="ordinal").alpha, abs=1e-9)
    assert found.alpha.n == len(kept)


def test_kappa_is_agreement_beyond_chance():
    # 20 both for a, 5 a then b, 10 b then a, 15 both for b: .7 seen, .5 by chance.
    both = [((1, 2), (1, 2))] * 20 + [((1, 2), (2, 1))] * 5
    both += [((2, 1), (1, 2))] * 10 + [((2, 1), (2, 1))] * 15
    reviews = [
        review(q, "ab", ranks, judge=judge)
        for q, row in enumerate(both)
        for judge, ranks in zip(("one", "two"), row, strict=True)
    ]
    (found,) = results_of(reviews, [], options("ab")).agreement
    assert (found.between, found.names) == ("judges", ["one", "two"])
    assert found.same_winner.value == pytest.approx(0.7)
    assert found.kappa.value == pytest.approx(0.4)
    assert found.kappa.interval.low < 0.4 < found.kappa.interval.high


def test_repeats_dimensions_and_people_are_compared_each_among_themselves():
    reviews = [
        review(q, "ab", (1, 2) if (q + repeat) % 3 else (2, 1), repeat=repeat, dimension=dimension)
        for q in range(20)
        for repeat in range(3)
        for dimension in ("general", "depth")
    ]
    reviews[0] = review(0, "ab", (1, 2), human=True, replaced_ranks=(2, 1))
    reviews[6] = review(1, "ab", (1, 2), human=True, replaced_ranks=(1, 2))
    found = {each.between: each for each in results_of(reviews, [], options("ab")).agreement}
    assert found["repeats"].names == ["0", "1", "2"]
    assert found["repeats"].kappa is None
    assert found["dimensions"].names == ["general", "depth"]
    assert found["humans"].names == ["judge", "human"]
    assert (found["humans"].same_winner.value, found["humans"].same_winner.n) == (0.5, 2)
    assert "judges" not in found


def test_each_judge_is_compared_with_itself():
    """One that always says the same, one that never does."""
    reviews = [
        review(q, "ab", (1, 2) if swayed == "no" or repeat else (2, 1), judge=swayed, repeat=repeat)
        if q % 2
        else review(q, "ab", (2, 1), judge=swayed, repeat=repeat)
        for q in range(20)
        for swayed in ("no", "yes")
        for repeat in range(2)
    ]
    told = results_of(reviews, [], options("ab")).agreement
    found = {each.judge: each for each in told if each.between == "repeats"}
    assert found["no"].same_winner.value == 1.0
    assert found["yes"].same_winner.value == 0.5
    assert (found["no"].names, found["no"].alpha.value) == (["0", "1"], 1.0)


def test_people_are_compared_with_a_judge_of_single_answers():
    reviews = [
        review(q, "a", (1,), scores=(float(q % 3),), human=q < 9, replaced_scores=(float(q % 3),))
        for q in range(30)
    ]
    (found,) = results_of(reviews, [], options("a", mode="scoring")).agreement
    assert (found.between, found.judge, found.names) == ("humans", "judge", ["judge", "human"])
    assert (found.alpha.value, found.alpha.n) == (1.0, 9)


def test_what_a_person_said_tells_nothing_of_the_judge():
    reviews = [
        review(q, lineup, (1, 2), repeat=repeat)
        for q in range(30)
        for lineup in ("ab", "ba")
        for repeat in range(2)
    ]
    plain = results_of(reviews, [], options("ab"))
    overridden = [
        replace(each, ranks=(2, 1), human=True, replaced_ranks=each.ranks)
        if each.question == "0" and each.repeat
        else each
        for each in reviews
    ]
    changed = results_of(overridden, [], options("ab"))
    assert changed.position == plain.position
    repeats, people = changed.agreement
    assert (repeats.between, people.between) == ("repeats", "humans")
    assert repeats == plain.agreement[0]


def test_scores_are_compared_as_scores():
    """The same order at other scores is no full agreement."""
    reviews = [
        review(q, "ab", (1, 2), scores=scores, judge=judge)
        for q in range(10)
        for judge, scores in (("mild", (9.0, 8.0 - q % 2)), ("harsh", (4.0, 2.0 + q % 2)))
    ]
    (found,) = results_of(reviews, [], options("ab", mode="scoring")).agreement
    assert found.same_winner.value == 1.0
    assert found.alpha.value < 0.5


def test_sources_that_never_judged_the_same_do_not_agree_or_disagree():
    reviews = [review(q, "ab", (1, 2), judge=("one", "two")[q % 2]) for q in range(10)]
    assert results_of(reviews, [], options("ab")).agreement == []


def test_more_noise_is_less_agreement():
    rng = np.random.default_rng(0)
    alphas = []
    for noise in (0.1, 0.3, 0.5):
        reviews = [
            review(q, "ab", (1, 2) if (q % 2 == 0) != (rng.random() < noise) else (2, 1), judge=j)
            for q in range(200)
            for j in ("one", "two")
        ]
        alphas.append(results_of(reviews, [], options("ab")).agreement[0].alpha.value)
    assert all(more > less + 0.1 for more, less in pairwise(alphas))
    assert abs(alphas[-1]) < 0.2
