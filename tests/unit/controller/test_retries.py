"""Retry-After, the retry budget, deadlines and the view of a worker's prefixes."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.controller.flow.retry_budget import RESERVE, SHARE, RetryBudget
from services.controller.flow.retry_places import FIRST_SECONDS, LONGEST_SECONDS, RetryPlaces
from services.controller.relay.deadline import LONGEST_SECONDS as LONGEST_DEADLINE
from services.controller.relay.deadline import NO_DEADLINE, parse_deadline
from services.controller.routing.prefix_view import TRUSTED_SECONDS, UNREPORTED_SECONDS, PrefixView
from shared.errors import InvalidRequest
from shared.protocol.prefix_chain import pack


def busy(rate, seconds=20):
    """Return places of which `rate` came free each second."""
    places = RetryPlaces()
    for tick in range(int(seconds * rate)):
        places.freed(1, tick / rate)
    return places


def test_before_anything_is_known_it_is_a_guess():
    assert RetryPlaces().give(10, 0.0) == FIRST_SECONDS
    assert RetryPlaces().wait(10) == 0.0


@pytest.mark.parametrize("rate", [0.5, 2, 20])
def test_the_wait_is_that_of_those_ahead(rate):
    places = busy(rate)
    assert places.rate == pytest.approx(rate, rel=0.15)
    assert places.wait(9) == pytest.approx(10 / rate, rel=0.15)


def test_refused_clients_do_not_all_come_back_at_once():
    places = busy(2.0)
    times = [places.give(4, 20.0) for _ in range(20)]
    gaps = [late - early for early, late in itertools.pairwise(times)]
    assert times[0] == pytest.approx(2.5, rel=0.2)
    assert all(gap == pytest.approx(0.5, rel=0.2) for gap in gaps)


def test_nobody_is_sent_away_for_longer_than_the_bound():
    places = busy(0.1, 100)
    assert max(places.give(500, 100.0) for _ in range(50)) == LONGEST_SECONDS


def test_idle_time_does_not_count_as_slowness():
    places = busy(10)
    places.idle()
    places.freed(1, 10_000.0)
    assert places.rate == pytest.approx(10, rel=0.15)


@given(st.integers(1, 2000))
def test_retries_are_a_part_of_the_requests(requests):
    budget = RetryBudget()
    allowed = 0
    for _ in range(requests):
        budget.earn()
        while budget.spend():
            allowed += 1
    assert allowed <= RESERVE + SHARE * requests + 1
    assert allowed >= min(RESERVE, 1)


@pytest.mark.parametrize(
    "value", [b"", b"x", b"0", b"-1", b"nan", b"inf", b"86401", b"1,2", b"\xff"]
)
def test_a_timeout_that_is_none_is_named(value):
    with pytest.raises(InvalidRequest) as fault:
        parse_deadline(value, 0.0)
    assert fault.value.param == "x-request-timeout"


def test_a_timeout_counts_from_the_requests_beginning():
    assert parse_deadline(b"2.5", 10.0) == 12.5
    assert parse_deadline(b"86400", 0.0) == LONGEST_DEADLINE
    assert parse_deadline(None, 10.0) == NO_DEADLINE


def test_reported_blocks_are_held_and_sent_ones_for_a_while():
    view = PrefixView()
    view.report(pack({1, 2, 3}), 0.0)
    assert view.held((1, 2, 3, 4)) == 3
    view.send((1, 2, 7), 1.0)
    assert view.held((1, 2, 7)) == 3
    view.report(pack({1, 2}), 1.0 + TRUSTED_SECONDS + 0.1)
    assert view.held((1, 2, 7)) == 2
    assert view.held((1, 2, 3)) == 2
    assert view.held((9, 8)) == 0
    assert view.held(()) == 0


def test_a_worker_that_reports_nothing_is_known_by_what_it_was_sent():
    view = PrefixView()
    view.send((1, 2), 0.0)
    view.report("", TRUSTED_SECONDS + 1)
    assert view.held((1, 2, 3)) == 2
    view.report("", UNREPORTED_SECONDS + 1)
    assert view.held((1, 2, 3)) == 0


def test_a_report_that_is_none_holds_nothing():
    view = PrefixView()
    view.report("?", 0.0)
    assert view.held((1,)) == 0
