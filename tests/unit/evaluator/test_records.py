"""What is stored of answers and reviews comes back as it was."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.evaluator.jobs.records import StoredAnswer, StoredResult, Used, pack, picodollars
from shared.protocol.evals.item import ItemError, ItemStatus, Verdict

counts = st.integers(0, 2**53)
used = st.builds(Used, counts, counts, counts, counts)
texts = st.text(max_size=50) | st.text("ab长", min_size=3000, max_size=5000)
errors = st.none() | st.builds(
    ItemError,
    stage=st.sampled_from(["answer", "judge"]),
    message=st.text(max_size=20),
    code=st.none() | st.just("x"),
    status=st.just(500),
    candidate=st.none() | st.just("c"),
)
verdicts = st.none() | st.builds(
    Verdict,
    ranks=st.none() | st.lists(st.integers(1, 26), max_size=4),
    scores=st.none() | st.lists(st.floats(0, 10), max_size=4),
    label=st.none() | st.text(max_size=5),
    passed=st.none() | st.booleans(),
    rule=st.text(max_size=5),
)


seconds = st.none() | st.floats(0, 1e6)


@given(st.builds(StoredAnswer, st.tuples(texts, texts), texts, used, errors, texts, seconds))
def test_answers(answer):
    assert StoredAnswer.decode(answer.encode()) == answer


def test_answers_that_an_earlier_version_stored_have_no_time():
    stored = pack([["Yes."], "stop", [1, 2, 3, 4], None, "v1"])
    assert StoredAnswer.decode(stored) == StoredAnswer(
        ("Yes.",), "stop", Used(1, 2, 3, 4), None, "v1"
    )


@given(
    st.builds(
        StoredResult, st.sampled_from(ItemStatus), verdicts, st.none() | texts, errors, used, texts
    )
)
def test_results(result):
    assert StoredResult.decode(result.encode()) == result


@given(st.lists(st.floats(0, 1000), max_size=50), st.randoms())
def test_money_adds_up_the_same_in_any_order(costs, chance):
    shuffled = list(costs)
    chance.shuffle(shuffled)
    assert sum(map(picodollars, costs)) == sum(map(picodollars, shuffled))
