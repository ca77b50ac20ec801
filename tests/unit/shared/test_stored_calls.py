"""A header that tells repeats is read as a count, or as none."""

import pytest

from shared.protocol.stored_calls import read_repeats


@pytest.mark.parametrize(
    ("header", "repeats"),
    [(None, 0), ("1", 1), ("12", 12), ("", 0), ("-1", 0), ("1.5", 0), ("²", 0), ("true", 0)],
)
def test_a_count_alone_is_believed(header, repeats):
    assert read_repeats(header) == repeats


def test_a_long_one_is_bounded():
    assert read_repeats("9" * 5000) == 999_999
