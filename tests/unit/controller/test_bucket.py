"""A bucket admits what a minute brings and one minute's worth at once, whatever happens when."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.controller.access.bucket import Bucket

LIMITS = st.integers(1, 10**6)
STEPS = st.lists(st.tuples(st.floats(0, 100), st.integers(0, 10**6), st.booleans()), max_size=50)


@given(LIMITS, STEPS)
def test_no_more_is_admitted_than_was_there_and_came(limit, steps):
    bucket, now, used = Bucket(limit, limit, 0.0), 0.0, 0
    for pause, amount, given_back in steps:
        now += pause
        if bucket.level(now) >= amount:
            bucket.put(-amount, now)
            used += amount
            if given_back:
                bucket.put(amount, now)
                used -= amount
        assert bucket.level(now) <= limit
        assert used <= limit + now * limit / 60 + 1e-6 * limit


@given(LIMITS, st.floats(-1, 1), st.floats(0, 1))
def test_the_wait_it_tells_is_the_wait_it_takes(limit, level, wanted):
    bucket, amount = Bucket(limit, level * limit, 5.0), wanted * limit
    seconds = bucket.seconds_until(amount, 5.0)
    assert bucket.level(5.0 + seconds) == pytest.approx(
        max(amount, level * limit), abs=1e-6 * limit
    )
    if seconds:
        assert bucket.level(5.0 + seconds / 2) < amount


def test_a_clock_that_stands_brings_nothing():
    bucket = Bucket(60, 0, 10.0)
    assert bucket.level(9.0) == 0
    assert bucket.level(10.5) == 0.5
    assert bucket.level(1000.0) == 60
