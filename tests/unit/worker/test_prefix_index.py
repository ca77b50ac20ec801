import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.worker.engine.prefix_index import BLOCK, Prefix, PrefixIndex


def ids(count, seed=0):
    chance = random.Random(seed)
    return tuple(chance.randrange(1000) for _ in range(count))


def test_the_longest_kept_beginning_is_found_to_the_token():
    index = PrefixIndex(1000)
    short = index.add(ids(40))
    long = index.add((*ids(40), *ids(50, 1)))

    # The short one is part of the long one, and is not kept twice.
    assert index.take_forgotten() == [short]
    assert index.tokens == 90
    assert index.find((*ids(40), *ids(50, 1), 7)) == Prefix(long, 90)
    assert index.find((*ids(40), *ids(23, 1), 7, 8)) == Prefix(long, 63)
    assert index.find((*ids(15), 5000, *ids(40))) is None
    assert index.find(ids(40, 2)) is None


def test_one_token_is_always_left_to_compute():
    index = PrefixIndex(1000)
    key = index.add(ids(40))

    assert index.find(ids(40)) == Prefix(key, 39)
    assert index.find(ids(BLOCK + 1)) == Prefix(key, BLOCK)
    assert index.find(ids(BLOCK)) is None


def test_what_is_found_is_cut_to_a_multiple():
    index = PrefixIndex(1000)
    key = index.add(ids(100))

    assert index.find(ids(100), 48) == Prefix(key, 96)
    assert index.find(ids(100), 99) == Prefix(key, 99)
    assert index.find(ids(60), 60) is None
    assert (index.queried_tokens, index.reused_tokens) == (260, 195)


@pytest.mark.parametrize("count", [0, 1, BLOCK - 1, 101])
def test_what_is_too_short_or_too_long_is_not_kept(count):
    index = PrefixIndex(100)

    assert index.add(ids(count)) is None
    assert (index.tokens, index.take_forgotten()) == (0, [])


def test_what_adds_little_is_not_kept_again():
    index = PrefixIndex(1000)
    index.add(ids(64))

    assert index.add(ids(64)) is None
    assert index.add((*ids(64), 1, 2, 3)) is None
    assert index.add(ids(40)) is None
    assert index.tokens == 64


def test_the_least_recently_used_goes_first():
    index = PrefixIndex(100)
    first, second = index.add(ids(40, 1)), index.add(ids(40, 2))
    index.find(ids(41, 1))

    third = index.add(ids(30, 3))

    assert index.take_forgotten() == [second]
    assert index.take_forgotten() == []
    assert index.find(ids(41, 2)) is None
    index.shrink(69)
    assert index.take_forgotten() == [first]
    index.shrink(0)
    assert index.take_forgotten() == [third]
    assert index.tokens == 0


def test_a_peek_is_no_use():
    index = PrefixIndex(100)
    first, second = index.add(ids(40, 1)), index.add(ids(40, 2))

    assert index.peek(ids(41, 1)) == Prefix(first, 40)
    index.shrink(50)

    assert index.take_forgotten() == [first]
    assert index.peek(ids(41, 2)) == Prefix(second, 40)
    assert (index.queried_tokens, index.reused_tokens) == (0, 0)


def test_what_is_cleared_is_not_told_as_forgotten():
    index = PrefixIndex(100)
    index.add(ids(40, 1))
    index.add(ids(80, 2))

    index.clear()

    assert (index.tokens, index.take_forgotten()) == (0, [])
    assert index.find(ids(41, 1)) is None
    assert index.add(ids(40, 1)) not in (None, 0, 1)


def test_queries_and_reuse_are_counted_in_tokens():
    index = PrefixIndex(1000)
    index.add(ids(40))
    index.find(ids(50))
    index.find(ids(50, 1))

    assert (index.queried_tokens, index.reused_tokens) == (100, 40)


def test_without_a_budget_nothing_is_kept():
    index = PrefixIndex(0)

    assert index.add(ids(40)) is None
    assert index.find(ids(40)) is None


# Few different tokens and lengths around a block, so that beginnings meet.
PROMPT = st.lists(st.integers(0, 1), min_size=1, max_size=3 * BLOCK).map(
    lambda bits: tuple(bit for bit in bits for _ in range(3))
)


@settings(max_examples=150, deadline=None)
@given(steps=st.lists(st.tuples(st.booleans(), PROMPT), max_size=30), budget=st.integers(0, 300))
def test_what_is_found_is_what_was_kept_and_not_forgotten(steps, budget):
    index, kept = PrefixIndex(budget), {}
    for adds, prompt in steps:
        if adds:
            key = index.add(prompt)
            if key is not None:
                kept[key] = prompt
            for gone in index.take_forgotten():
                del kept[gone]
        elif (prefix := index.find(prompt)) is not None:
            assert BLOCK <= prefix.length < len(prompt)
            assert kept[prefix.key][: prefix.length] == prompt[: prefix.length]
        assert index.tokens == sum(map(len, kept.values())) <= budget


def test_what_is_kept_is_known_by_the_numbers_it_came_with_until_it_goes():
    index = PrefixIndex(3 * BLOCK)
    one, two = tuple(range(BLOCK)), tuple(range(100, 100 + 2 * BLOCK))
    index.add(one, (1, 2))
    index.add(two, (1, 3))
    assert index.beginnings == [1, 2, 3]
    index.shrink(2 * BLOCK)
    assert index.beginnings == [1, 3]
    longer = (*two, *range(BLOCK))
    index.add(longer, (1, 3, 4))
    assert index.beginnings == [1, 3, 4]
    index.clear()
    assert index.beginnings == []
