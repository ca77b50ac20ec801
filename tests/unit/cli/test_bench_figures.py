"""Figures of samples: percentiles, several tokens in a piece, rejects and failures."""

from __future__ import annotations

import pytest

from services.cli.bench.figures import figures, inter_token_latencies, percentile
from services.cli.bench.sample import CountedBy, Outcome, Sample


def completed(*arrivals, tokens=None, started=0.0, counted_by=CountedBy.USAGE):
    return Sample(
        started,
        list(arrivals),
        ended=arrivals[-1],
        outcome=Outcome.COMPLETED,
        prompt_tokens=10,
        output_tokens=tokens or len(arrivals),
        counted_by=counted_by,
    )


@pytest.mark.parametrize(("percent", "value"), [(50, 50), (95, 95), (99, 99), (100, 100)])
def test_a_percentile_is_the_nearest_rank(percent, value):
    assert percentile([(float(i), 1.0) for i in range(1, 101)], percent) == value


def test_the_only_value_is_every_percentile():
    assert {percentile([(7.0, 1.0)], percent) for percent in (1, 50, 99)} == {7.0}


def test_a_weight_counts_as_that_many_values():
    assert percentile([(1.0, 1.0), (2.0, 9.0)], 10) == 1.0
    assert percentile([(1.0, 1.0), (2.0, 9.0)], 11) == 2.0


def test_fractional_weights_do_not_skip_a_rank():
    tenths = [(float(i), 0.1) for i in range(10)]
    assert percentile(tenths, 50) == 4.0


def test_one_token_a_piece_gives_the_gaps():
    assert inter_token_latencies(completed(1.0, 1.5, 3.0)) == [(0.5, 1.0), (1.5, 1.0)]


def test_several_tokens_in_a_piece_are_spread_over_it():
    # 5 tokens in 3 pieces: 4 latencies in 2 gaps.
    assert inter_token_latencies(completed(1.0, 2.0, 4.0, tokens=5)) == [(0.5, 2.0), (1.0, 2.0)]


def test_one_piece_has_no_latency():
    assert inter_token_latencies(completed(1.0, tokens=8)) == []
    assert figures([completed(1.0, tokens=8)], 1.0).itl_ms.p50 is None


def test_the_figures_of_completed_requests():
    told = figures([completed(1.0, 1.5), completed(2.0, 2.25, tokens=4, started=1.0)], 4.0)
    assert told.completed == 2
    assert told.output_tokens == 6
    assert told.output_tokens_per_second == 1.5
    assert told.requests_per_second == 0.5
    assert told.output_tokens_per_request == 3.0
    assert told.prompt_tokens == 10.0
    assert told.ttft_ms.p50 == told.ttft_ms.p99 == 1000.0
    # Weight 1 at 500 ms and weight 3 at 83 ms.
    assert told.itl_ms.p50 == pytest.approx(250 / 3)
    assert told.itl_ms.p99 == 500.0
    assert told.e2e_ms.p50 == 1250.0
    assert told.counted_by == ["usage"]


def test_rejects_and_failures_are_counted_and_named_and_nothing_else():
    refused, broken = Sample(0.0), Sample(0.0, [0.5], output_tokens=1)
    refused.end(Outcome.REJECTED, 9.0, "429 full")
    broken.end(Outcome.FAILED, 9.0, "broke off")
    again = Sample(0.0)
    again.end(Outcome.REJECTED, 9.0, "429 full")
    told = figures([refused, completed(1.0, 2.0), broken, again], 2.0)
    assert (told.completed, told.rejected, told.failed, told.interrupted) == (1, 2, 1, 0)
    assert told.faults == {"429 full": 2, "broke off": 1}
    assert told.output_tokens == 2
    assert told.ttft_ms.p99 == 1000.0
    assert told.e2e_ms.p99 == 2000.0


def test_what_came_before_the_interruption_counts():
    told = figures([Sample(0.0, [1.0, 3.0]), Sample(0.0)], 4.0)
    assert (told.completed, told.interrupted) == (0, 2)
    assert told.output_tokens == 2
    assert told.ttft_ms.p50 == 1000.0
    assert told.itl_ms.p50 == 2000.0
    assert told.e2e_ms.p50 is None


def test_nothing_at_all_has_no_figures():
    told = figures([], 0.0)
    assert told.output_tokens_per_second == 0.0
    assert (told.ttft_ms.p50, told.prompt_tokens) == (None, None)
