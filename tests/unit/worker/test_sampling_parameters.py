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
from services.worker.engine.sequence import NO_TOKEN, SamplingParams, Sequence, TokenLogprobs

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


def draw(rows, logits, sampler=None, **options):
    """Draw a token for each of the sequences, which have it from then on."""
    sampler = sampler or Sampler(CPU, frozenset({EOS}))
    tokens = [drawn.token_id for drawn in sampler.sample(logits, tuple(rows), **options)]
    for row, token in zip(rows, tokens, strict=True):
        row.output_ids.append(token)
    return tokens


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
    return torch.tensor(draw(rows, LOGITS.repeat(ROWS, 1), allowed=allowed))


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
        ({"seed": 2}, PROBS),
        ({"seed": 2**80}, PROBS),
        ({"temperature": 2.0}, torch.softmax(LOGITS / 2, -1)),
        ({"temperature": 0.5}, torch.softmax(LOGITS * 2, -1)),
        # The first three have 0.80 together, the first four 0.89.
        ({"top_p": 0.79}, torch.where(only(0, 1, 2), PROBS, 0)),
        ({"top_p": 0.81}, torch.where(only(0, 1, 2, 3), PROBS, 0)),
        ({"top_p": 1.0}, PROBS),
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
    rows = [sequence(temperature=0) for _ in allowed]
    assert draw(rows, LOGITS.repeat(4, 1), allowed=allowed) == [5, 1, NO_TOKEN, 0]


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
    assert draw([row], LOGITS[None]) == [best]


def test_penalties_of_the_output_do_not_count_the_prompt():
    asked = {"presence_penalty": 2.0, "frequency_penalty": 2.0, "temperature": 0}
    assert draw([sequence((0, 0), **asked)], LOGITS[None]) == [0]


def test_penalties_count_what_the_sampler_itself_has_drawn():
    row, sampler = sequence(temperature=0, frequency_penalty=0.4), Sampler(CPU)
    for _ in range(8):
        draw([row], LOGITS[None], sampler)
    assert row.output_ids == [0, 0, 1, 0, 1, 2, 0, 1]


def test_what_ends_is_not_drawn_before_min_tokens_are_there():
    row = sequence(temperature=0, min_tokens=3, stop_token_ids=frozenset({STOP}))
    sampler = Sampler(CPU, frozenset({EOS}))
    for _ in range(4):
        draw([row], LOGITS[None], sampler)
    assert row.output_ids == [2, 2, 2, EOS]


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


def rows_of(asked):
    return [sequence((3, i), seed=i, **params) for i, params in enumerate(asked)]


def alone(asked, logits):
    """Return what each draws by itself."""
    rows = rows_of(asked)
    for i, row in enumerate(rows):
        sampler = Sampler(CPU, frozenset({EOS}))
        for step in logits:
            draw([row], step[i][None], sampler)
    return [row.output_ids for row in rows]


@settings(deadline=None, max_examples=40)
@given(kinds)
def test_a_row_draws_the_same_beside_any_others(asked):
    logits = steps_of(10, len(asked))
    rows, sampler = rows_of(asked), Sampler(CPU, frozenset({EOS}))
    for step in logits:
        draw(rows, step, sampler)
    assert [row.output_ids for row in rows] == alone(asked, logits)


@settings(deadline=None, max_examples=40)
@given(kinds, st.integers(0, 9), st.randoms(use_true_random=False))
def test_rows_that_leave_and_come_back_elsewhere_draw_on(asked, left_after, chance):
    """Resumed with what was emitted, in other rows and beside others: the same tokens."""
    logits = steps_of(10, len(asked))
    whole = alone(asked, logits)
    order = list(range(len(asked)))
    chance.shuffle(order)
    rows = rows_of(asked)
    for row, ids in zip(rows, whole, strict=True):
        row.output_ids += ids[:left_after]
    sampler = Sampler(CPU, frozenset({EOS}))
    for step in logits[left_after:]:
        draw([rows[i] for i in order], step[order], sampler)
    assert [row.output_ids for row in rows] == whole


@settings(deadline=None, max_examples=40)
@given(kinds, st.data())
def test_rows_keep_all_of_their_state_while_others_come_and_go(asked, data):
    """Who draws in which order is another thing at each step, as with preempted sequences."""
    logits = steps_of(12, len(asked))
    rows, sampler = rows_of(asked), Sampler(CPU, frozenset({EOS}))
    present = st.lists(st.sampled_from(range(len(asked))), min_size=1, unique=True)
    for _ in range(12):
        places = data.draw(present)
        here = torch.stack([logits[len(rows[i].output_ids), i] for i in places])
        draw([rows[i] for i in places], here, sampler)
    for row, whole in zip(rows, alone(asked, logits), strict=True):
        assert row.output_ids == whole[: len(row.output_ids)]


def test_the_history_is_kept_for_rows_with_penalties_alone_and_given_back():
    sampler = Sampler(CPU)
    history = sampler._adjustments._history
    logits = LOGITS.repeat(16, 1)
    rows = [sequence() for _ in range(16)]
    draw(rows, logits, sampler)
    assert history.rows == 0
    for place in (2, 3, 15):
        rows[place] = sequence(presence_penalty=1.0)
    draw(rows, logits, sampler)
    assert history.rows == 4
    # Hundreds of requests later there are no more rows than there were at once.
    for _ in range(100):
        sampler.release(rows[15])
        rows[15] = sequence(frequency_penalty=1.0)
        draw(rows, logits, sampler)
    assert history.rows == 4
    for place in (2, 3, 15):
        sampler.release(rows[place])
    assert history.rows == 0


def test_a_reset_gives_the_history_back_and_who_goes_on_has_it_still():
    sampler = Sampler(CPU)
    gone, row = (sequence(temperature=0, frequency_penalty=0.4) for _ in range(2))
    draw([gone, row], LOGITS.repeat(2, 1), sampler)
    draw([gone, row], LOGITS.repeat(2, 1), sampler)
    sampler.reset()
    assert sampler._adjustments._history.rows == 0
    for _ in range(6):
        draw([row], LOGITS[None], sampler)
    assert row.output_ids == [0, 0, 1, 0, 1, 2, 0, 1]
    assert sampler._adjustments._history.rows == 1


@pytest.mark.parametrize("params", [{"presence_penalty": 1.0}, {"logit_bias": ((0, 5.0),)}])
@pytest.mark.parametrize("temperature", [0, 1.0])
def test_a_broken_row_is_told_even_where_it_is_masked(params, temperature):
    rows = [sequence(temperature=temperature, **params) for _ in range(2)]
    logits = LOGITS.repeat(2, 1)
    logits[1, 6] = math.nan
    allowed = only(*range(6)).expand(2, -1)
    first, second = draw(rows, logits, allowed=allowed)
    assert 0 <= first < 6
    assert second == NO_TOKEN


def test_logprobs_are_those_of_the_models_own_logits():
    asked = {"temperature": 0.3, "top_k": 2, "presence_penalty": 2.0, "logit_bias": ((5, 9.0),)}
    rows = sequence(logprobs=3, **asked), sequence(), sequence(logprobs=0, temperature=0)
    logits = torch.stack([LOGITS, LOGITS.flip(0), LOGITS])
    first, second, third = Sampler(CPU).sample(logits, rows)
    expected = torch.log_softmax(LOGITS, -1).tolist()
    assert first.logprobs.logprob == pytest.approx(expected[first.token_id])
    assert [token for token, _ in first.logprobs.top] == [0, 1, 2]
    assert [value for _, value in first.logprobs.top] == pytest.approx(expected[:3])
    assert second.logprobs is None
    assert third.logprobs == TokenLogprobs(pytest.approx(expected[third.token_id]), ())


def test_no_more_logprobs_than_there_are_tokens():
    (drawn,) = Sampler(CPU).sample(LOGITS[None], (sequence(logprobs=20),))
    assert len(drawn.logprobs.top) == 8
