"""The mock engine's arithmetic: what steps cost, what caches hold, and that all is given back."""

from __future__ import annotations

from collections.abc import Sequence as Ordered

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.mock.prefix_cache import BLOCK_TOKENS
from tests.fakes.mock.scheduler import Costs, Full, Scheduler, Sequence, TooLong

SMALL = Costs(max_num_seqs=2, max_waiting=2, kv_tokens=1024, chunk_tokens=128)


def sequence(
    prompt: int = 10, answer: int = 4, chain: tuple[int, ...] = (), *, batch: bool = False
) -> Sequence[str]:
    return Sequence("somebody", 0, prompt, answer, chain, batch=batch)


def run(scheduler: Scheduler[str]) -> float:
    """Step until nothing is left; return the seconds."""
    seconds = 0.0
    while (step := scheduler.plan()) is not None:
        seconds += step.seconds
        scheduler.finish(step)
    return seconds


def test_a_prompt_takes_its_rate_and_a_token_takes_a_step():
    scheduler: Scheduler[str] = Scheduler(Costs())
    scheduler.add([sequence(prompt=8_000, answer=11)])
    # The first token comes with the prompt's last chunk, ten more with a step each.
    assert run(scheduler) == pytest.approx(1.0 + 10 * (0.006 + 0.000_35))


def test_inter_token_time_grows_with_the_sequences():
    scheduler: Scheduler[str] = Scheduler(Costs())
    scheduler.add([sequence(prompt=1, answer=2) for _ in range(20)])
    scheduler.finish(scheduler.plan())
    step = scheduler.plan()
    assert step.seconds == pytest.approx(0.006 + 20 * 0.000_35)


def test_hit_tokens_skip_prefill():
    scheduler: Scheduler[str] = Scheduler(Costs())
    chain = tuple(range(10))
    scheduler.add([sequence(prompt=640, answer=1, chain=chain)])
    first = run(scheduler)
    again = sequence(prompt=640, answer=1, chain=chain)
    scheduler.add([again])
    # But for the last token, whose logits are wanted.
    assert run(scheduler) == pytest.approx(first / 640)
    assert again.hit_tokens == 639


def test_a_chain_is_a_hit_only_from_its_beginning():
    scheduler: Scheduler[str] = Scheduler(Costs())
    scheduler.keep((1, 2, 3))
    assert scheduler.cache.match((1, 2, 9)) == 2
    assert scheduler.cache.match((2, 3)) == 2  # numbers are cumulative, so this is no prompt's
    assert scheduler.cache.match((9, 1)) == 0


def test_the_least_recently_used_chain_goes_first_and_its_end_before_its_beginning():
    scheduler: Scheduler[str] = Scheduler(Costs(kv_tokens=6 * BLOCK_TOKENS))
    scheduler.keep((1, 2, 3))
    scheduler.keep((4, 5, 6))
    scheduler.keep((7,))
    assert scheduler.cache.match((1, 2, 3)) == 2
    scheduler.keep((8, 9))
    assert scheduler.cache.match((1, 2, 3)) == 0
    assert scheduler.cache.match((4, 5, 6)) == 3


def test_as_many_wait_as_may_and_no_more():
    scheduler: Scheduler[str] = Scheduler(SMALL)
    scheduler.add([sequence() for _ in range(4)])
    with pytest.raises(Full):
        scheduler.add([sequence()])


def test_what_never_fits_is_told_so():
    with pytest.raises(TooLong):
        Scheduler(SMALL).add([sequence(prompt=1021)])


def test_interactive_sequences_go_before_batch_ones():
    scheduler: Scheduler[str] = Scheduler(Costs(max_num_seqs=1))
    batch, interactive = sequence(batch=True), sequence()
    scheduler.add([batch])
    scheduler.add([interactive])
    assert [s for s, _ in scheduler.plan().prefill] == [interactive]


Chain = st.integers(0, 12).map(lambda n: tuple(range(n)))
Asked = st.tuples(st.integers(1, 700), st.integers(1, 30), Chain, st.booleans())


@given(st.lists(Asked, max_size=30), st.lists(st.integers(0, 30), max_size=20))
def test_everything_is_given_back_whatever_is_removed_when(
    asked: Ordered[tuple[int, int, tuple[int, ...], bool]], removals: Ordered[int]
):
    scheduler: Scheduler[str] = Scheduler(SMALL)
    entered: list[Sequence[str]] = []
    to_remove = list(removals)
    for prompt, answer, chain, batch in asked:
        fresh = sequence(prompt, answer, chain[: prompt // BLOCK_TOKENS], batch=batch)
        try:
            scheduler.add([fresh])
        except Full:
            step = scheduler.plan()
            if to_remove:
                scheduler.remove(entered[to_remove.pop() % len(entered)])
            scheduler.finish(step)
        else:
            entered.append(fresh)
        held = scheduler.kv_tokens_used
        assert 0 <= held <= SMALL.kv_tokens
    run(scheduler)
    assert not scheduler.running
    assert scheduler.waiting == 0
    assert scheduler.kv_tokens_used == 0
    assert scheduler.cache.tokens <= SMALL.kv_tokens
