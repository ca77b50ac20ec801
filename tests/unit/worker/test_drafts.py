import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.worker.engine.drafts import PromptLookup, accepted
from services.worker.engine.sequence import Drawn, SamplingParams, Sequence

# Tokens whose bytes look like parts of one another's.
TOKENS = st.sampled_from([0, 1, 255, 256, 257, 65536, 65537, 16777216])


def sequence(prompt, output=(), **params):
    params = SamplingParams(max_tokens=99, seed=0, **params)
    return Sequence("r", 0, tuple(prompt), params, output_ids=list(output))


def draft(prompt, most=8, room=99):
    return PromptLookup(most).draft(sequence(prompt), room)


def looked_up(tokens, most):
    """The same, token by token."""
    for end in range(len(tokens) - 1, 2, -1):
        alike = 0
        while alike < end and tokens[end - 1 - alike] == tokens[-1 - alike]:
            alike += 1
        if alike >= 3:
            followed = tokens[end:]
            count = min(most, alike - 2)
            return tuple(followed[at % len(followed)] for at in range(count))
    return ()


def test_what_followed_the_last_time_may_follow_again():
    assert draft([1, 2, 3, 40, 9, 1, 2, 3]) == (40,)
    assert draft([1, 2, 3, 40, 9, 1, 2, 3, 50, 8, 1, 2, 3]) == (50,)
    assert draft([1, 2, 3, 9, 1, 2]) == ()
    assert draft([1, 2, 3]) == ()
    assert draft([1]) == ()


def test_the_longer_the_place_before_agrees_the_more_is_tried():
    before = [7, 1, 2, 3, 4, 5, 6]

    lengths = [len(draft([*before, 8, *before[:count]])) for count in range(1, 8)]

    assert lengths == [0, 0, 1, 2, 3, 4, 5]


def test_what_repeats_itself_goes_round():
    assert draft([5] * 20) == (5,) * 8
    assert draft([1, 2] * 9) == (1, 2) * 4


@pytest.mark.parametrize(("most", "room"), [(0, 9), (3, 9), (9, 3), (9, 0), (9, -1)])
def test_no_more_is_tried_than_may_be(most, room):
    assert len(draft([5] * 20, most, room)) == max(0, min(most, room))


@given(st.lists(TOKENS, max_size=40), st.integers(0, 40), st.integers(1, 9))
def test_it_is_found_among_tokens_and_not_across_their_bytes(tokens, prompt, most):
    lookup = PromptLookup(most)
    row = sequence(tokens[:prompt])
    if row.prompt_ids:
        lookup.draft(row, most)
    for token in tokens[prompt:]:
        row.output_ids.append(token)
        found = lookup.draft(row, most)
        assert found == looked_up(list(row.token_ids), most)


@pytest.mark.parametrize(
    "params",
    [
        {"repetition_penalty": 1.1},
        {"presence_penalty": 0.1},
        {"frequency_penalty": -0.1},
        {"min_tokens": 1},
    ],
)
def test_what_changes_with_each_token_gets_none(params):
    assert PromptLookup(8).draft(sequence([5] * 20, **params), 8) == ()


def test_a_least_length_that_is_reached_gets_one():
    assert PromptLookup(8).draft(sequence([5] * 20, [5], min_tokens=1), 8)


@pytest.mark.parametrize(
    ("draws", "count"), [((7, 8, 9, 10), 4), ((7, 8, 3, 10), 3), ((7, 3, 9, 10), 2), ((3,) * 4, 1)]
)
def test_tokens_count_up_to_the_first_that_the_draft_missed(draws, count):
    drawn = [Drawn(token) for token in draws]

    assert accepted((7, 8, 9), drawn) == drawn[:count]


def test_what_was_tried_and_what_came_true_is_counted_and_a_sequence_forgotten():
    lookup, row = PromptLookup(8), sequence([5] * 20)
    row.draft = lookup.draft(row, 4)

    lookup.settle(row, 3)
    lookup.release(row)
    lookup.release(row)

    assert (lookup.drafted_tokens, lookup.accepted_tokens) == (4, 3)
    assert row.draft == ()
