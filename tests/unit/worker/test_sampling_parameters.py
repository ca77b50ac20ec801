"""Each sampling parameter against the distribution that its definition gives.

Thousands of rows are drawn in one call. Every seed is fixed, so nothing here depends on luck: a
chi-square beyond its critical value at p = 0.0001 is a fault.
"""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from services.worker.engine.sampler import Sampler
from services.worker.engine.sequence import NO_TOKEN, SamplingParams, Sequence

pytestmark = pytest.mark.torch

CPU = torch.device("cpu")
ROWS = 3_000
LOGITS = torch.tensor([2.0, 1.5, 1.0, 0.5, 0.0, -0.5, -1.0, -1.5])
PROBS = torch.softmax(LOGITS, dim=-1)
EOS, STOP = 0, 1
# Critical values of chi-square at p = 0.0001, by degrees of freedom.
CRITICAL = [0.0, 15.14, 18.42, 21.11, 23.51, 25.74, 27.86, 29.88]


def sequence(prompt=(7,), output=(), choice=0, **params):
    asked = SamplingParams(**({"max_tokens": 99, "seed": 1} | params))
    return Sequence("r", choice, prompt, asked, output_ids=list(output))


def sampler_of(*sequences):
    sampler = Sampler(len(sequences), CPU, frozenset({EOS}))
    for slot, each in enumerate(sequences):
        sampler.assign(slot, each)
    return sampler


def draw(sampler, logits, **options):
    return sampler.sample(logits, slice(0, len(logits)), **options)


def chi_square(tokens, weights):
    """Return chi-square, over its critical value, of tokens drawn with these weights."""
    counts = torch.bincount(tokens, minlength=len(weights)).double()
    possible = weights > 0
    assert counts[~possible].sum() == 0
    wanted = (weights / weights.sum())[possible].double() * len(tokens)
    statistic = ((counts[possible] - wanted) ** 2 / wanted).sum()
    return float(statistic) / CRITICAL[int(possible.sum()) - 1]


def drawn(prompt=(7,), output=(), allowed=None, **params):
    """Draw one token in each of thousands of rows: choices of one request."""
    rows = [sequence(prompt, output, choice, **params) for choice in range(ROWS)]
    return draw(sampler_of(*rows), LOGITS.repeat(ROWS, 1), allowed=allowed)


def only(*tokens):
    kept = torch.zeros(8, dtype=torch.bool)
    kept[list(tokens)] = True
    return kept


BIAS = torch.tensor([0, 0, 0, -100.0, 0, 0, 1.5, 0])
# Prompt (7, 2), output (0, 0, 5): positive logits are divided and the others multiplied.
REPEATED = torch.tensor([2.0 / 1.5, 1.5, 1.0 / 1.5, 0.5, 0.0, -0.75, -1.0, -2.25])
FREQUENT = LOGITS - 0.75 * torch.tensor([2, 0, 0, 0, 0, 1, 0, 0])
PRESENT = LOGITS + 1.25 * torch.tensor([1, 0, 0, 0, 0, 1, 0, 0])
HAD = {"prompt": (7, 2), "output": (0, 0, 5)}
NEITHER = torch.where(torch.arange(8) > 1, PROBS, 0)


@pytest.mark.parametrize(
    ("asked", "weights"),
    [
        ({}, PROBS),
        ({"temperature": 2.0}, torch.softmax(LOGITS / 2, -1)),
        ({"top_k": 3}, torch.where(only(0, 1, 2), PROBS, 0)),
        ({"top_k": 8}, PROBS),
        ({"top_k": 1000}, PROBS),
        # The likeliest has 0.40: a tenth of it is passed by the first five.
        ({"min_p": 0.1}, torch.where(only(0, 1, 2, 3, 4), PROBS, 0)),
        # top_p counts what min_p and top_k have left: 2 of these 3 have 0.82.
        ({"top_k": 3, "top_p": 0.8}, torch.where(only(0, 1), PROBS, 0)),
        ({"min_p": 0.3, "top_p": 0.8}, torch.where(only(0, 1), PROBS, 0)),
        # Temperature comes first: min_p then passes more.
        ({"min_p": 0.3, "temperature": 2.0}, torch.where(only(*range(5)), (LOGITS / 2).exp(), 0)),
        ({"logit_bias": ((3, -100.0), (6, 1.5))}, (LOGITS + BIAS).exp() * (BIAS > -100)),
        ({"repetition_penalty": 1.5, **HAD}, REPEATED.exp()),
        ({"frequency_penalty": 0.75, **HAD}, FREQUENT.exp()),
        ({"presence_penalty": -1.25, **HAD}, PRESENT.exp()),
        ({"min_tokens": 4, "stop_token_ids": frozenset({STOP}), **HAD}, NEITHER),
        ({"min_tokens": 3, "stop_token_ids": frozenset({STOP}), **HAD}, PROBS),
        ({"min_tokens": 4, "ignore_eos": True, **HAD}, PROBS),
    ],
    ids=str,
)
def test_draws_follow_the_definition(asked, weights):
    assert chi_square(drawn(**asked), weights) < 1


def test_the_check_tells_a_wrong_distribution():
    assert chi_square(drawn(temperature=1.2), PROBS) > 1


def test_a_mask_leaves_the_allowed_tokens_alone():
    kept = only(1, 4, 6)
    tokens = drawn(allowed=kept.expand(ROWS, -1))
    assert chi_square(tokens, torch.where(kept, PROBS, 0)) < 1


def test_a_mask_is_a_matter_of_its_row():
    allowed = torch.stack([only(5), ~only(0), torch.zeros(8, dtype=torch.bool), ~only()])
    sampler = sampler_of(*(sequence(temperature=0) for _ in allowed))
    assert draw(sampler, LOGITS.repeat(4, 1), allowed=allowed).tolist() == [5, 1, NO_TOKEN, 0]


@pytest.mark.parametrize(
    ("asked", "best"),
    [
        ({}, 0),
        ({"logit_bias": ((4, 3.0),)}, 4),
        ({"logit_bias": ((1000, 3.0),)}, 0),
        ({"repetition_penalty": 2.0}, 1),
        ({"presence_penalty": 0.6}, 1),
        ({"frequency_penalty": 0.2}, 0),
        ({"frequency_penalty": 0.3}, 1),
        ({"frequency_penalty": 0.6, "presence_penalty": -0.8}, 0),
        ({"min_tokens": 9, "stop_token_ids": frozenset({STOP})}, 2),
        ({"top_k": 5, "min_p": 0.5}, 0),
    ],
    ids=str,
)
def test_a_greedy_row_takes_the_best_of_the_adjusted_logits(asked, best):
    row = sequence((0,), (0, 0), temperature=0, **asked)
    assert draw(sampler_of(row), LOGITS[None]).tolist() == [best]


def test_penalties_of_the_output_do_not_count_the_prompt():
    asked = {"presence_penalty": 2.0, "frequency_penalty": 2.0, "temperature": 0}
    assert draw(sampler_of(sequence((0, 0), **asked)), LOGITS[None]).tolist() == [0]


def test_penalties_count_what_the_sampler_itself_has_drawn():
    sampler = sampler_of(sequence(temperature=0, frequency_penalty=0.4))
    tokens = [int(draw(sampler, LOGITS[None])) for _ in range(8)]
    assert tokens == [0, 0, 1, 0, 1, 2, 0, 1]


KINDS = [
    {},
    {"temperature": 0},
    {"frequency_penalty": 0.5, "presence_penalty": 0.3},
    {"repetition_penalty": 1.3, "temperature": 0},
    {"repetition_penalty": 0.8, "top_k": 4},
    {"min_tokens": 6, "stop_token_ids": frozenset({2})},
    {"logit_bias": ((1, 2.0), (5, -3.0)), "min_p": 0.05},
    {"top_k": 6, "top_p": 0.9, "logprobs": 2},
    {"top_p": 0.7},
]
kinds = st.lists(st.sampled_from(KINDS), min_size=1, max_size=6)


def steps_of(count, rows):
    return torch.randn(count, rows, 40, generator=torch.Generator().manual_seed(9)) * 2


def alone(row, logits):
    sampler = sampler_of(row)
    return [int(draw(sampler, step[None])) for step in logits]


@settings(deadline=None, max_examples=40)
@given(kinds)
def test_a_row_draws_the_same_beside_any_others(asked):
    logits = steps_of(10, len(asked))
    rows = [sequence((3, i), seed=i, **params) for i, params in enumerate(asked)]
    sampler = sampler_of(*rows)
    together = torch.stack([draw(sampler, step) for step in logits]).T.tolist()
    for i, row in enumerate(rows):
        assert alone(row, logits[:, i]) == together[i]


@settings(deadline=None, max_examples=40)
@given(kinds, st.integers(0, 9), st.randoms(use_true_random=False))
def test_rows_that_leave_and_come_back_elsewhere_draw_on(asked, left_after, chance):
    """Resumed with what was emitted, in other slots and beside others: the same tokens."""
    logits = steps_of(10, len(asked))
    whole = [
        alone(sequence((3, i), seed=i, **params), logits[:, i]) for i, params in enumerate(asked)
    ]
    order = list(range(len(asked)))
    chance.shuffle(order)
    rows = [sequence((3, i), whole[i][:left_after], seed=i, **asked[i]) for i in order]
    sampler = sampler_of(*rows)
    rest = [draw(sampler, step[order]).tolist() for step in logits[left_after:]]
    for place, i in enumerate(order):
        assert [step[place] for step in rest] == whole[i][left_after:]


@settings(deadline=None, max_examples=40)
@given(kinds, st.data())
def test_rows_keep_all_of_their_state_when_they_move(asked, data):
    logits = steps_of(12, len(asked))
    rows = [sequence((3, i), seed=i, **params) for i, params in enumerate(asked)]
    sampler = sampler_of(*rows)
    places, got = list(range(len(asked))), [[] for _ in asked]
    for step in logits:
        if len(places) > 1 and data.draw(st.booleans()):
            hole = data.draw(st.integers(0, len(places) - 1))
            sampler.move(len(places) - 1, hole)
            places[hole] = places[-1]
            places.pop()
        for i, token in zip(places, draw(sampler, step[places]).tolist(), strict=True):
            got[i].append(token)
    for i, row in enumerate(rows):
        assert got[i] == alone(row, logits[: len(got[i]), i])


def test_the_history_is_kept_for_rows_with_penalties_alone_and_given_back():
    sampler = sampler_of(*(sequence() for _ in range(16)))
    history = sampler._adjustments._history
    logits = LOGITS.repeat(16, 1)
    draw(sampler, logits)
    assert history.rows == 0
    for slot in (2, 3, 15):
        sampler.assign(slot, sequence(presence_penalty=1.0))
    draw(sampler, logits)
    assert history.rows == 4
    # Thousands of requests later there are no more rows than there were at once.
    for _ in range(100):
        sampler.move(15, 3)
        sampler.assign(15, sequence(frequency_penalty=1.0))
        draw(sampler, logits)
    assert history.rows == 4
    for slot in (2, 3, 15):
        sampler.assign(slot, sequence())
    assert history.rows == 0


@pytest.mark.parametrize("params", [{"presence_penalty": 1.0}, {"logit_bias": ((0, 5.0),)}])
@pytest.mark.parametrize("temperature", [0, 1.0])
def test_a_broken_row_is_told_even_where_it_is_masked(params, temperature):
    sampler = sampler_of(*(sequence(temperature=temperature, **params) for _ in range(2)))
    logits = LOGITS.repeat(2, 1)
    logits[1, 6] = math.nan
    allowed = only(*range(6)).expand(2, -1)
    first, second = draw(sampler, logits, allowed=allowed).tolist()
    assert 0 <= first < 6
    assert second == NO_TOKEN


def test_logprobs_are_those_of_the_models_own_logits():
    asked = {"temperature": 0.3, "top_k": 2, "presence_penalty": 2.0, "logit_bias": ((5, 9.0),)}
    sampler = sampler_of(
        sequence(logprobs=3, **asked), sequence(), sequence(logprobs=0, temperature=0)
    )
    first, _, third = draw(sampler, torch.stack([LOGITS, LOGITS.flip(0), LOGITS])).tolist()
    expected = torch.log_softmax(LOGITS, -1).tolist()
    told = sampler.logprobs(0)
    assert told.logprob == pytest.approx(expected[first])
    assert [token for token, _ in told.top] == [0, 1, 2]
    assert [value for _, value in told.top] == pytest.approx(expected[:3])
    assert sampler.logprobs(1) is None
    assert (sampler.logprobs(2).logprob, sampler.logprobs(2).top) == (
        pytest.approx(expected[third]),
        (),
    )


def test_no_more_logprobs_than_there_are_tokens():
    sampler = sampler_of(sequence(logprobs=20))
    draw(sampler, LOGITS[None])
    assert len(sampler.logprobs(0).top) == 8
