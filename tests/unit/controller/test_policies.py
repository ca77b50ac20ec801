from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from services.controller.routing.policies import least_loaded


@dataclass
class Worker:
    pressure: float


@given(st.lists(st.floats(0, 10), min_size=1))
def test_nobody_has_less_than_the_chosen(pressures):
    chosen = least_loaded([Worker(p) for p in pressures], lambda equals: equals[0])

    assert chosen.pressure == min(pressures)


def test_among_equals_the_pick_decides():
    workers = [Worker(1.0), Worker(0.5), Worker(0.5), Worker(2.0)]
    offered = []

    def last(equals):
        offered.extend(equals)
        return equals[-1]

    assert least_loaded(workers, last) is workers[2]
    assert offered == workers[1:3]
