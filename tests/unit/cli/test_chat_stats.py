"""The line of figures after an answer."""

from __future__ import annotations

from services.cli.chat.stats import AnswerStats
from shared.client import Delta


def line(*events):
    """Figures of (second, delta) pairs; the request starts at second 10."""
    times = iter([10.0, *(second for second, delta in events if delta.text)])
    stats = AnswerStats(lambda: next(times))
    for _, delta in events:
        stats.note(delta)
    return stats.line()


def usage(tokens):
    return Delta(usage={"completion_tokens": tokens})


def test_time_to_first_token_and_the_rate_of_the_others():
    told = line((10.5, Delta("a")), (11.0, Delta("b")), (12.5, Delta("c")), (12.6, usage(41)))
    assert told == "TTFT 0.50 s · 41 tokens · 20.0 tokens/s"


def test_without_usage_the_pieces_are_counted_and_marked_as_a_guess():
    told = line((10.25, Delta("a")), (11.0, Delta("b")), (12.25, Delta("c")))
    assert told == "TTFT 0.25 s · ~3 tokens · ~1.0 tokens/s"


def test_one_token_has_no_rate():
    assert line((10.5, Delta("a")), (10.5, usage(1))) == "TTFT 0.50 s · 1 token"


def test_a_cut_answer_says_so():
    told = line((10.5, Delta("a")), (10.5, Delta(finish_reason="length")))
    assert "cut off at max_tokens" in told


def test_an_answer_without_text_has_no_figures():
    assert line((10.5, Delta(finish_reason="stop"))) == ""
