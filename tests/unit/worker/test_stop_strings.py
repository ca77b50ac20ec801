from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.worker.stop_strings import StopStrings

stops_of_few_letters = st.lists(st.text("ab", min_size=1, max_size=5), min_size=1, max_size=4)
texts_in_pieces = st.lists(st.text("abc", max_size=6), max_size=12)


def reference(text: str, stops: list[str]) -> tuple[str, bool]:
    """Cut where the first stop string is complete, the longest if several are."""
    for end in range(1, len(text) + 1):
        found = [stop for stop in stops if text[:end].endswith(stop)]
        if found:
            return text[: end - max(map(len, found))], True
    return text, False


def shown(pieces: list[str], stops: list[str]) -> tuple[list[str], bool]:
    watch = StopStrings(stops)
    got = [watch.feed(piece) for piece in pieces]
    return [*got, watch.flush()], watch.matched


@settings(deadline=None)
@given(texts_in_pieces, stops_of_few_letters)
@example(["aab", "aab", "aaab"], ["aabaaa"])
@example(["abab", "abc"], ["ababc", "ba"])
def test_the_text_ends_before_the_first_complete_stop_string(pieces, stops):
    got, matched = shown(pieces, stops)
    assert ("".join(got), matched) == reference("".join(pieces), stops)


@settings(deadline=None)
@given(texts_in_pieces, stops_of_few_letters)
def test_only_what_may_begin_a_stop_string_is_held_back(pieces, stops):
    watch = StopStrings(stops)
    text = ""
    for piece in pieces:
        text += piece
        out = watch.feed(piece)
        if watch.matched:
            return
        held = watch._held
        longest = max(
            length for stop in stops for length in range(len(stop)) if text.endswith(stop[:length])
        )
        assert len(held) == longest
        assert out == "" or text.endswith(out + held)


@pytest.mark.parametrize("size", [1, 2, 3, 100])
@pytest.mark.parametrize(
    ("stops", "expected"),
    [
        (["STOP"], "one "),
        (["one"], ""),
        (["two", "STOP", "o"], ""),
        (["STOP two", "OP"], "one ST"),
        (["absent"], "one STOP two"),
        (["wo!"], "one STOP two"),
    ],
)
def test_however_the_text_is_cut(size, stops, expected):
    text = "one STOP two"
    pieces = [text[i : i + size] for i in range(0, len(text), size)]
    assert "".join(shown(pieces, stops)[0]) == expected


def test_nothing_is_shown_after_the_match():
    watch = StopStrings(["X"])
    assert watch.feed("aXb") == "a"
    assert watch.matched
    assert watch.feed("more") == ""
    assert watch.flush() == ""


def test_an_unfinished_stop_string_is_shown_at_the_end():
    watch = StopStrings(["END"])
    assert watch.feed("the EN") == "the "
    assert watch.flush() == "EN"
    assert not watch.matched


def test_without_stop_strings_nothing_is_held_back():
    watch = StopStrings([])
    assert watch.feed("abc") == "abc"


def test_a_very_long_stop_string_that_never_begins_costs_nothing():
    watch = StopStrings(["x" * 1_000_000])
    assert watch.feed("abc") == "abc"
    assert len(watch._matchers[0]._borders) == 2
