"""Intervals hold the truth as often as they say, in 1,000 simulated runs: `make test-long`."""

from __future__ import annotations

import numpy as np
import pytest

from tests.fakes.judged_worlds import coverage

pytestmark = pytest.mark.timeout(1200)


def test_95_of_100_intervals_hold_the_truth():
    found = coverage(np.random.default_rng(2026), runs=1000, resamples=2000)
    for figure, (covered, of) in found.items():
        print(f"{figure}: {covered / of:.3f} of {of}")
        assert 0.92 <= covered / of <= 0.97, figure
