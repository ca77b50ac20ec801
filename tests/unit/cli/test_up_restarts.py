from __future__ import annotations

from services.cli.up.restarts import RestartPolicy, Restarts


def test_the_delay_doubles_up_to_its_ceiling() -> None:
    restarts = Restarts(RestartPolicy())
    delays = []
    for _ in range(8):
        restarts.count(1, None)
        delays.append(restarts.delay)
    assert delays == [0.5, 1, 2, 4, 8, 16, 30, 30]


def test_a_service_that_was_healthy_for_long_begins_anew() -> None:
    restarts = Restarts(RestartPolicy())
    for _ in range(5):
        restarts.count(1, 59.0)
    assert restarts.delay == 8
    restarts.count(-9, 60.0)
    assert restarts.delay == 0.5


def test_the_delay_stays_a_number_after_very_many_failures() -> None:
    restarts = Restarts(RestartPolicy())
    for _ in range(5000):
        restarts.count(1, None)
    assert restarts.delay == 30


def test_five_wrong_configurations_in_a_row_are_hopeless() -> None:
    restarts = Restarts(RestartPolicy())
    for _ in range(4):
        restarts.count(2, None)
        assert not restarts.hopeless
    restarts.count(2, None)
    assert restarts.hopeless


def test_another_end_between_them_gives_new_hope() -> None:
    restarts = Restarts(RestartPolicy())
    ends = [(2, None), (2, None), (2, None), (2, None), (1, None), (2, None), (2, 3.0), (2, None)]
    for exit_code, healthy_for in ends:
        restarts.count(exit_code, healthy_for)
    assert not restarts.hopeless
