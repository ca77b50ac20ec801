"""The pace of calls against servers that count them, in virtual time."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.evaluator.calling.pace import FIRST_LIMIT, Pace
from tests.fakes.paced_calls import course_of
from tests.fakes.rate_limits import (
    begun_before,
    concurrency,
    fixed_window,
    sliding_window,
    token_bucket,
)

SAID = {
    "no Retry-After": lambda _: None,
    "Retry-After": lambda wait: wait,
    "whole seconds": lambda wait: float(math.ceil(wait)),
}
MINUTE = 60.0


@pytest.mark.parametrize("said", SAID)
@pytest.mark.parametrize("latency", [0.02, 0.5, 3.0])
@pytest.mark.parametrize("per_minute", [120, 600])
def test_a_limit_by_the_minute_is_used_up_and_hardly_ever_hit(said, latency, per_minute):
    calls = 6 * per_minute
    course = course_of(Pace(64), fixed_window(per_minute, MINUTE), calls, latency, SAID[said])
    assert course.ended <= 1.25 * 6 * MINUTE
    assert course.refused_after(MINUTE) <= 0.05


@pytest.mark.parametrize("said", ["Retry-After", "whole seconds"])
@pytest.mark.parametrize(("per_second", "latency"), [(5, 0.01), (5, 2.0), (20, 0.01), (20, 0.5)])
@pytest.mark.parametrize("window", [5, 10])
@pytest.mark.parametrize("kind", [fixed_window, sliding_window])
def test_short_windows_are_used_up_wherever_in_one_the_first_call_comes(
    kind, window, per_second, latency, said
):
    seconds = 6 * window
    for age in (0, 0.3, 0.8):
        admit = begun_before(kind(window * per_second, window), age * window)
        course = course_of(Pace(64), admit, seconds * per_second, latency, SAID[said])
        assert course.ended <= 1.25 * (seconds + latency)
        assert course.refused_after(window) <= 0.05


@pytest.mark.parametrize("latency", [0.01, 0.1])
@pytest.mark.parametrize("per_second", [5, 20, 50])
@pytest.mark.parametrize("window", [1, 2])
def test_windows_of_a_second_or_two_are_used_up_where_pauses_are_told_exactly(
    window, per_second, latency
):
    for age in (0, 0.3, 0.8):
        admit = begun_before(fixed_window(window * per_second, window), age * window)
        course = course_of(Pace(64), admit, 30 * per_second, latency, lambda wait: wait)
        assert course.ended <= 1.25 * (30 + latency)
        assert course.refused_after(window) <= 0.05


@pytest.mark.parametrize("said", SAID)
@pytest.mark.parametrize(("per_second", "capacity"), [(10, 10), (10, 600), (100, 100)])
def test_a_bucket_is_emptied_and_then_asked_as_it_fills(said, per_second, capacity):
    calls = capacity + 60 * per_second
    course = course_of(Pace(64), token_bucket(per_second, capacity), calls, 0.05, SAID[said])
    assert course.ended <= 1.25 * 60
    assert course.refused_after(6) <= 0.05


def test_behind_a_pause_calls_come_at_the_rate_learnt_and_not_all_at_once():
    course = course_of(Pace(64), fixed_window(100, 10), 500, 0.05, lambda wait: wait)
    assert course.sent_between(10, 11) <= 13
    assert course.sent_between(20, 21) <= 13


def test_a_server_that_takes_few_at_once_gets_few_at_once():
    admit, end = concurrency(4)
    course = course_of(Pace(64), admit, 3000, 0.05, lambda _: None, end=end)
    assert course.refused_after(course.ended / 2) <= 0.05
    assert course.ended <= 2.5 * 3000 * 0.05 / 4


def test_without_refusals_the_calls_at_once_grow_to_the_bound():
    course = course_of(Pace(48), lambda _: 0.0, 500, 1.0, lambda _: None)
    assert course.most_at_once == 48
    assert course.sent_between(0, 0.5) == FIRST_LIMIT


def test_one_episode_cuts_once_and_its_longest_wish_counts():
    pace = Pace(64)
    tickets = [pace.sent(0.0) for _ in range(10)]
    for wish, ticket in enumerate(tickets[:8], 1):
        pace.refused(ticket, 0.1, float(wish))
    assert pace.limit == FIRST_LIMIT * 0.8
    assert pace.wait(0.1) == pytest.approx(8.0)
    assert pace.in_flight == 2


def test_where_no_time_is_told_one_call_tries_alone_and_the_pause_grows():
    pace = Pace(64)
    first = pace.sent(0.0)
    pace.refused(first, 0.0, None)
    now, pauses = 0.0, []
    for _ in range(6):
        pauses.append(pace.wait(now))
        now += pauses[-1]
        probe = pace.sent(now)
        assert pace.wait(now) == math.inf
        pace.refused(probe, now, None)
    assert pauses == sorted(pauses)
    assert pauses[-1] > 2 * pauses[0]


@pytest.mark.parametrize("end", ["withdrawn", "failed"])
def test_a_try_that_says_nothing_is_followed_by_another(end):
    pace = Pace(64)
    pace.refused(pace.sent(0.0), 0.0, None)
    now = pace.wait(0.0)
    probe = pace.sent(now)
    if end == "withdrawn":
        pace.withdrawn(probe, now)
    else:
        pace.failed(probe, now, None)
    assert pace.wait(now) == 0.0
    assert pace.in_flight == 0


def test_other_failures_cut_nothing_and_hold_back_growth_alone():
    failing, fine = Pace(64), Pace(64)
    for pace in (failing, fine):
        course_of(pace, fixed_window(50, 5), 200, 0.05, lambda wait: wait)
    rate, limit = failing.rate, failing.limit
    assert rate == fine.rate
    now = 100.0
    for _ in range(2000):
        now += max(1e-3, failing.wait(now), fine.wait(now))
        failing.failed(failing.sent(now), now, None)
        fine.succeeded(fine.sent(now), now)
    assert (failing.rate, failing.limit) == (rate, limit)
    assert failing.wait(now) <= 1 / rate


def test_time_in_which_nobody_asked_is_not_held_against_the_server():
    pace = Pace(64)
    pace.succeeded(pace.sent(0.0), 0.1)
    now = 3600.0
    tickets = [pace.sent(now) for _ in range(16)]
    for ticket in tickets[:10]:
        pace.succeeded(ticket, now + 0.1)
    for ticket in tickets[10:]:
        pace.refused(ticket, now + 0.1, 1.0)
    now += 0.1 + pace.wait(now + 0.1)
    pace.sent(now)
    assert pace.rate > 5


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["succeeded", "refused", "failed", "withdrawn"]),
            st.floats(0, 5),
            st.none() | st.floats(0, 100),
            st.integers(0, 40),
        ),
        max_size=120,
    )
)
def test_whatever_happens_places_come_back_and_calls_may_go_on(events):
    pace, now, running = Pace(32), 0.0, []
    for what, seconds, wish, which in events:
        while pace.wait(now) <= 0 and len(running) < 40:
            running.append(pace.sent(now))
        now += seconds
        if running:
            ticket = running.pop(which % len(running))
            if what in {"succeeded", "withdrawn"}:
                getattr(pace, what)(ticket, now)
            else:
                getattr(pace, what)(ticket, now, wish)
        assert pace.in_flight == len(running) <= 32
        assert 1 <= pace.limit <= 32
        assert pace.rate > 0
    for ticket in running:
        pace.withdrawn(ticket, now)
    assert pace.in_flight == 0
    assert pace.wait(now) < 300
