"""How free slots are shared out between runs."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from services.evaluator.jobs.sharing import shares


@dataclass
class Run:
    busy: int
    most: int


runs = st.lists(st.builds(Run, st.integers(0, 20), st.integers(1, 20)), max_size=8)


@given(runs, st.integers(0, 64))
def test_slots_go_to_whoever_has_least(listed, free):
    gained = [0] * len(listed)
    for run, gain in shares(listed, free):
        gained[next(place for place, each in enumerate(listed) if each is run)] = gain
    assert sum(gained) <= free
    after = [run.busy + gain for run, gain in zip(listed, gained, strict=True)]
    for run, total, gain in zip(listed, after, gained, strict=True):
        assert gain == 0 or total <= run.most
        # Who got one is not ahead of anybody who could have had it.
        others = [
            each
            for each, other in zip(after, listed, strict=True)
            if each < other.most and other is not run
        ]
        assert gain == 0 or all(total <= each + 1 for each in others)
    if sum(gained) < free:
        assert all(total >= run.most for run, total in zip(listed, after, strict=True))
