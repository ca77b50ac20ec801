"""The budget of moves over the whole fleet."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.controller.relay.move_budget import PER_RUNNING, RESERVE, SECONDS, MoveBudget


def test_all_that_runs_may_move_twice_and_a_few_more():
    budget = MoveBudget()
    most = RESERVE + PER_RUNNING * 10
    assert [budget.spend(10, 0.0) for _ in range(most + 1)] == [True] * most + [False]
    assert not budget.spend(10, SECONDS - 0.1)
    assert budget.spend(10, SECONDS)


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(0, 50)), max_size=300))
def test_no_window_has_more_than_is_allowed(steps):
    budget, now, allowed = MoveBudget(), 0.0, []
    for pause, running in steps:
        now += pause
        if budget.spend(running, now):
            allowed.append(now)
            window = [at for at in allowed if at > now - SECONDS]
            assert len(window) <= RESERVE + PER_RUNNING * running
