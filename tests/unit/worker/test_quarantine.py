"""Who is suspected of failed steps, who runs alone for it, and who ends."""

import pytest

from services.worker.engine.quarantine import Quarantine
from services.worker.engine.sequence import SamplingParams, Sequence


def sequences(names):
    params = SamplingParams(max_tokens=100, seed=0)
    return [Sequence(name, 0, (1,), params) for name in names]


def give(sequence, tokens):
    sequence.output_ids += [7] * tokens


@pytest.fixture
def quarantine():
    return Quarantine()


def test_one_failed_step_is_nobodys_fault(quarantine):
    assert quarantine.judge(sequences("ab")) == []
    assert not quarantine


def test_who_was_in_two_failed_steps_runs_alone_the_latest_first(quarantine):
    a, b, c = ran = sequences("abc")
    quarantine.judge(ran[:2])

    assert quarantine.judge(ran) == []

    assert quarantine.first is b
    give(b, 3)
    assert quarantine.take_cleared() is None
    give(b, 1)
    assert quarantine.take_cleared() is b
    assert quarantine.first is a
    give(a, 4)
    assert quarantine.take_cleared() is a
    assert not quarantine
    # The one that was in the second alone is suspected from its next one on.
    quarantine.judge([c, *sequences("d")])
    assert quarantine.first is c


def test_who_fails_alone_is_to_blame_and_the_others_are_free(quarantine):
    a, b, c = ran = sequences("abc")
    quarantine.judge(ran)
    quarantine.judge(ran)

    assert quarantine.judge([c]) == [c]

    assert not quarantine
    assert quarantine.judge([a, b]) == []
    assert not quarantine


def test_who_was_the_only_one_is_suspected_at_once(quarantine):
    (a,) = sequences("a")

    assert quarantine.judge([a]) == []
    assert quarantine.first is a
    assert quarantine.judge([a]) == [a]


def test_who_fails_now_and_then_has_to_last_longer_each_time(quarantine):
    (a,) = sequences("a")
    needed = []
    for _ in range(4):
        assert quarantine.judge([a]) == []
        before = len(a.output_ids)
        while quarantine.take_cleared() is None:
            give(a, 1)
        needed.append(len(a.output_ids) - before)

    assert needed == [2, 4, 8, 16]


def test_those_who_fail_together_alone_end_together_at_last(quarantine):
    ran = sequences("ab")
    for _ in range(5):
        assert quarantine.judge(ran) == []
        while quarantine:
            give(quarantine.first, 1)
            quarantine.take_cleared()

    assert quarantine.judge(ran) == ran
    assert not quarantine


def test_who_has_ended_is_forgotten(quarantine):
    a, b = ran = sequences("ab")
    quarantine.judge(ran)
    quarantine.judge(ran)

    quarantine.release(b)
    assert quarantine.first is a
    quarantine.release(a)

    assert not quarantine
    assert quarantine.take_cleared() is None


def test_a_step_without_sequences_says_nothing(quarantine):
    for _ in range(10):
        assert quarantine.judge([]) == []
    assert not quarantine
