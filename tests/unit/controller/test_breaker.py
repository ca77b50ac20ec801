"""The breaker, on a clock that the test turns."""

from __future__ import annotations

import pytest

from services.controller.breaker import FAULTS, Breaker, BreakerState

FIRST_SECONDS, LONGEST_SECONDS = 1.0, 30.0


@pytest.fixture
def opened():
    breaker = Breaker()
    breaker.fail(0.0, certain=True)
    return breaker


def test_faults_in_a_row_open_it_and_an_answer_between_them_does_not():
    breaker = Breaker()
    for _ in range(FAULTS - 1):
        breaker.fail(0.0)
    breaker.succeed()
    for _ in range(FAULTS - 1):
        breaker.fail(0.0)
    assert breaker.allows(0.0)
    breaker.fail(0.0)
    assert not breaker.allows(0.0)
    assert breaker.state(0.0) is BreakerState.OPEN
    assert breaker.retry_after(0.4) == pytest.approx(FIRST_SECONDS - 0.4)


def test_after_its_time_one_request_probes(opened):
    assert not opened.allows(FIRST_SECONDS - 0.1)
    assert opened.allows(FIRST_SECONDS)
    assert opened.enter()
    assert opened.state(FIRST_SECONDS) is BreakerState.HALF_OPEN
    assert not opened.allows(FIRST_SECONDS)
    opened.succeed()
    assert opened.state(FIRST_SECONDS) is BreakerState.CLOSED
    assert opened.allows(FIRST_SECONDS)
    assert not opened.enter()


def test_each_failed_probe_doubles_its_time_up_to_a_bound(opened):
    now, times = 0.0, []
    for _ in range(8):
        wait = opened.retry_after(now)
        times.append(wait)
        now += wait
        opened.fail(now, probe=opened.enter(), certain=True)
    assert times[:4] == pytest.approx([1, 2, 4, 8])
    assert max(times) == LONGEST_SECONDS
    assert opened.opened == 1
    opened.succeed()
    opened.fail(now, certain=True)
    assert opened.retry_after(now) == pytest.approx(FIRST_SECONDS)


def test_a_probe_that_ends_without_an_answer_makes_room_for_another(opened):
    probe = opened.enter()
    assert not opened.allows(5.0)
    opened.abandon(probe=False)
    assert not opened.allows(5.0)
    opened.abandon(probe=probe)
    assert opened.allows(5.0)


def test_what_was_sent_before_it_opened_lengthens_nothing(opened):
    for _ in range(10):
        opened.fail(0.5)
    assert opened.allows(FIRST_SECONDS)


def test_the_breaker_opens_after_failures_in_a_row_and_doubles_its_cooldown():
    breaker = Breaker(faults=3, first_seconds=2.0, longest_seconds=7.0)
    for _ in range(2):
        breaker.fail(0.0)
    breaker.succeed()
    for _ in range(3):
        assert breaker.retry_after(10.0) == 0
        breaker.fail(10.0, probe=breaker.enter())
    assert breaker.retry_after(10.0) == 2.0

    now = 12.0
    for cooldown in (4.0, 7.0, 7.0):
        assert breaker.retry_after(now) == 0
        assert breaker.enter()
        assert breaker.retry_after(now) > 0  # one probe at a time
        breaker.fail(now, probe=True)
        assert breaker.retry_after(now) == cooldown
        now += cooldown

    breaker.enter()
    breaker.abandon(probe=True)
    assert breaker.retry_after(now) == 0  # the probe told nothing: another one may go
    breaker.enter()
    breaker.succeed()
    assert breaker.retry_after(now) == 0


def test_calls_from_before_do_not_lengthen_a_cooldown():
    breaker = Breaker(faults=1, first_seconds=2.0)
    breaker.fail(0.0)
    breaker.fail(1.0)
    assert breaker.retry_after(1.0) == 1.0
