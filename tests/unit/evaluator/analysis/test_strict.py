"""Win rates of pairs of which both orders said the same, beside those of all."""

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.evaluator.analysis.results import results_of
from tests.fakes.judged_worlds import options, review

FIRST, SECOND, TIE = (1, 2), (2, 1), (1, 1)


def swapped(looks, **others):
    """One question a look: the verdict on "ab" and the one on "ba", None being undecoded."""
    return [
        review(q, lineup, ranks, **others)
        for q, both in enumerate(looks)
        for lineup, ranks in zip(("ab", "ba"), both, strict=True)
    ]


def rates(results, scope=0):
    return {each.candidate: each.strict_win_rate for each in results.scopes[scope].candidates}


def test_pairs_that_both_orders_agree_on_are_counted_alone():
    # a twice, b, a tie; then one that turned, one with a tie once, and one half undecoded.
    looks = [(FIRST, SECOND), (FIRST, SECOND), (SECOND, FIRST), (TIE, TIE)]
    looks += [(FIRST, FIRST), (FIRST, TIE), (FIRST, None)]
    results = results_of(swapped(looks), [], options("ab", mode="pairwise"))
    found = rates(results)
    assert (found["a"].value, found["a"].n) == (pytest.approx(2.5 / 4), 4)
    assert (found["b"].value, found["b"].n) == (pytest.approx(1.5 / 4), 4)
    assert found["a"].interval.low < 2.5 / 4 < found["a"].interval.high
    assert found["a"].undecoded == 1
    top = {each.candidate: each for each in results.scopes[0].candidates}
    # All 13 verdicts: a won 2 + 2, 0 + 0, 1/2 + 1/2, 1 + 0, 1 + 1/2 and 1.
    assert (top["a"].win_rate.value, top["a"].win_rate.n) == (pytest.approx(8.5 / 13), 13)
    (position,) = results.position
    assert position.consistent.value * position.consistent.n == pytest.approx(found["a"].n)


def test_where_each_question_has_one_agreed_verdict_the_interval_is_wilsons():
    found = rates(results_of(swapped([(FIRST, SECOND)] * 15 + [(SECOND, FIRST)] * 5), [], AB))
    # Wilson's of 15 of 20, as tables have it.
    assert found["a"].interval.low == pytest.approx(0.5313, abs=1e-4)
    assert found["a"].interval.high == pytest.approx(0.8881, abs=1e-4)


AB = options("ab", mode="pairwise")


def test_intervals_are_of_whole_questions():
    """Six repeats that say the same of each question are no more than one."""
    looks = [(FIRST, SECOND)] * 15 + [(SECOND, FIRST)] * 5
    again = [each for repeat in range(6) for each in swapped(looks, repeat=repeat)]
    found = rates(results_of(again, [], AB))["a"]
    assert (found.n, found.value) == (120, pytest.approx(0.75))
    assert found.interval.high - found.interval.low > 0.3


@pytest.mark.parametrize(
    "reviews",
    [
        pytest.param([review(q, "ab", FIRST) for q in range(9)], id="one order"),
        pytest.param(
            [review(q, "ab" if q % 2 else "ba", FIRST) for q in range(9)], id="other questions"
        ),
        pytest.param(
            [
                review(q, lineup, FIRST, judge=judge)
                for q in range(9)
                for lineup, judge in (("ab", "one"), ("ba", "two"))
            ],
            id="other judges",
        ),
        pytest.param(
            [
                review(q, name, (1,), scores=(score,))
                for q in range(9)
                for name, score in (("a", 7.0), ("b", 5.0))
            ],
            id="each alone",
        ),
    ],
)
def test_where_no_pair_was_judged_in_both_orders_there_is_none(reviews):
    assert set(rates(results_of(reviews, [], options("ab"))).values()) == {None}


def test_where_the_orders_never_agree_there_is_no_rate_and_n_is_0():
    found = rates(results_of(swapped([(FIRST, FIRST)] * 9), [], AB))
    assert [(each.value, each.interval, each.n) for each in found.values()] == [(None, None, 0)] * 2


def test_a_candidate_that_was_seen_in_one_order_only_has_none():
    reviews = swapped([(FIRST, SECOND)] * 4) + [review(q, "ac", FIRST) for q in range(4)]
    found = rates(results_of(reviews, [], options("abc")))
    assert (found["a"].value, found["a"].n, found["b"].value) == (1.0, 4, 0.0)
    assert found["c"] is None


def test_rotated_line_ups_agree_by_pairs():
    """Of abc and cab a stands before b, of bca not: only a and b are seen alike each time."""
    reviews = [
        review(q, turn, ranks)
        for q in range(4)
        for turn, ranks in (("abc", (1, 2, 3)), ("bca", (2, 3, 1)), ("cab", (1, 2, 3)))
    ]
    found = rates(results_of(reviews, [], options("abc")))
    # a and c: abc says a, bca says a (c behind), cab says c. b and c: abc b, bca b, cab c.
    # Where c stands first is one look for each, which says c; where not, two, which say the other.
    assert [(found[name].value, found[name].n) for name in "ab"] == [(1.0, 4), (0.0, 4)]
    assert (found["c"].value, found["c"].n) == (None, 0)


def test_pairs_of_larger_line_ups_weigh_less_as_in_the_averaged_rates():
    reviews = [
        review(0, "abc", (1, 2, 3)),
        review(0, "cba", (3, 2, 1)),
        *(review(1, lineup, ranks) for lineup, ranks in (("ab", SECOND), ("ba", FIRST))),
    ]
    results = results_of(reviews, [], options("abc"))
    found = rates(results)
    # a: of b 1 at 1 / 2 and 0 at 1, of c 1 at 1 / 2.
    assert (found["a"].value, found["a"].n) == (pytest.approx(1 / 2), 3)
    assert {each.candidate: each.win_rate.value for each in results.scopes[0].candidates} == {
        name: pytest.approx(figure.value) for name, figure in found.items()
    }


def test_parts_of_the_reviews_have_their_own():
    looks = [(FIRST, SECOND), (SECOND, FIRST), (FIRST, FIRST), (FIRST, SECOND)]
    reviews = [
        *swapped(looks, dimension="general"),
        *swapped([(FIRST, SECOND)] * 4, dimension="depth"),
    ]
    results = results_of(reviews, [], AB)
    of = {scope.dimension: place for place, scope in enumerate(results.scopes)}
    told = [(rates(results, of[name])["a"].value, rates(results, of[name])["a"].n) for name in of]
    assert told == [
        (pytest.approx(6 / 7), 7),
        (pytest.approx(2 / 3), 3),
        (1.0, 4),
    ]


VERDICTS = st.sampled_from([FIRST, SECOND, TIE, None])


@settings(max_examples=60, deadline=None)
@given(
    st.integers(2, 4).flatmap(
        lambda count: st.lists(
            st.dictionaries(
                st.sampled_from(list(combinations("abcd"[:count], 2))),
                st.tuples(VERDICTS, VERDICTS),
                min_size=1,
            ),
            min_size=1,
            max_size=8,
        )
    )
)
def test_any_pairs_are_counted_as_by_hand(questions):
    won, met, reviews = {}, {}, []
    for q, looks in enumerate(questions):
        for (one, other), (straight, turned) in looks.items():
            reviews.append(review(q, one + other, straight))
            reviews.append(review(q, other + one, turned))
            if straight is None or turned is None:
                continue
            agreed = straight == turned[::-1]
            share = 0.5 if straight == TIE else float(straight == FIRST)
            for name, part in ((one, share), (other, 1 - share)):
                met[name] = met.get(name, 0) + agreed
                won[name] = won.get(name, 0.0) + part * agreed
    for name, found in rates(results_of(reviews, [], options("abcd", resamples=20))).items():
        if name not in met:
            assert found is None
        else:
            assert found.n == met[name]
            assert found.value == (pytest.approx(won[name] / met[name]) if met[name] else None)
