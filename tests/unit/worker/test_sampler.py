import pytest
import torch

from services.worker.engine.sampler import Sampler
from services.worker.engine.sequence import NO_TOKEN, SamplingParams, Sequence
from services.worker.engine.truncation import (
    invert_cdf,
    keep_likely,
    keep_nucleus,
    keep_top,
    row_sums,
)
from services.worker.engine.uniforms import stream_key, uniforms

pytestmark = pytest.mark.torch

CPU = torch.device("cpu")
PROBS = torch.tensor([0.30, 0.22, 0.15, 0.12, 0.08, 0.05, 0.04, 0.03, 0.01])
# Critical values of chi-square at p = 0.0001, by degrees of freedom.
CRITICAL = {2: 18.42, 3: 21.11, 8: 31.83}


def params(temperature=1.0, top_p=1.0, seed=0, **others):
    return SamplingParams(max_tokens=99, seed=seed, temperature=temperature, top_p=top_p, **others)


def sequence(sampling, *, choice=0, prompt=(0,), output=()):
    return Sequence("r", choice, prompt, sampling, output_ids=list(output))


def step(sampler, logits, rows):
    """Draw a token for each of the sequences, which have it from then on."""
    tokens = [drawn.token_id for drawn in sampler.sample(logits, tuple(rows))]
    for row, token in zip(rows, tokens, strict=True):
        row.output_ids.append(token)
    return tokens


def draws(sampling, logits, count, *, choice=0, index=0):
    """Draw tokens number `index` and so on of one sequence."""
    row, sampler = sequence(sampling, choice=choice, output=[0] * index), Sampler(CPU)
    return [step(sampler, logits[None], [row])[0] for _ in range(count)]


def chi_square(tokens, expected):
    counts = torch.bincount(tokens, minlength=len(expected)).double()
    assert counts[expected == 0].sum() == 0
    wanted = expected[expected > 0].double() * len(tokens)
    return float(((counts[expected > 0] - wanted) ** 2 / wanted).sum())


def test_uniforms_are_the_published_splitmix64():
    # The first five numbers of seed 1234567, as Vigna's splitmix64.c prints them.
    published = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]

    ours = uniforms(torch.full((5,), 1234567), torch.arange(5))

    assert ours.tolist() == [(number >> 12) / 2**52 for number in published]


@pytest.mark.parametrize("seed", [0, 1, -1, 2**63, -(2**63), 2**64 - 1, 10**30])
def test_any_integer_is_a_seed(seed):
    uniform = uniforms(stream_key(seed, 0)[None], torch.tensor([0]))

    assert 0 <= float(uniform) < 1


def test_seeds_and_choices_have_streams_of_their_own():
    keys = torch.stack([stream_key(seed, choice) for seed in range(50) for choice in range(50)])

    assert len(keys.unique()) == 2500


def test_draws_follow_the_distribution():
    tokens = invert_cdf(PROBS.expand(50_000, -1), uniforms(stream_key(7, 0), torch.arange(50_000)))

    assert chi_square(tokens, PROBS) < CRITICAL[8]


def test_draws_follow_the_distribution_across_seeds():
    keys = torch.stack([stream_key(seed, 0) for seed in range(5_000)])
    tokens = invert_cdf(PROBS.expand(5_000, -1), uniforms(keys, torch.zeros_like(keys)))

    assert chi_square(tokens, PROBS) < CRITICAL[8]


def test_a_skewed_distribution_fails_the_same_check():
    tokens = invert_cdf(
        PROBS.expand(50_000, -1), uniforms(stream_key(7, 0), torch.arange(50_000)) ** 1.05
    )

    assert chi_square(tokens, PROBS) > CRITICAL[8]


@pytest.mark.parametrize(("top_p", "kept"), [(0.5, 2), (0.6, 3), (0.75, 4)])
def test_top_p_draws_from_the_nucleus_alone(top_p, kept):
    logits = PROBS.log()
    expected = torch.where(torch.arange(9) < kept, PROBS, 0)
    tokens = torch.tensor(draws(params(top_p=top_p, seed=3), logits, 2_000))

    if kept == 2:
        assert set(tokens.tolist()) == {0, 1}
    else:
        assert chi_square(tokens, expected / expected.sum()) < CRITICAL[kept - 1]


def test_a_sequence_that_comes_several_times_draws_as_it_would_one_after_the_other():
    torch.manual_seed(0)
    logits = torch.randn(7, 9)
    hot = params(temperature=1.3, top_p=0.9, seed=5, logprobs=2)
    rows = [sequence(hot, output=[3, 4]), sequence(params(0), output=[1])]
    order = (rows[0],) * 4 + (rows[1],) * 3

    together = Sampler(CPU).sample(logits, order)

    sampler, alone = Sampler(CPU), []
    for at, row in enumerate(order):
        alone += sampler.sample(logits[at : at + 1], (row,))
        row.output_ids.append(alone[-1].token_id)
    assert [drawn.token_id for drawn in together] == [drawn.token_id for drawn in alone]
    assert [drawn.logprobs for drawn in together] == [drawn.logprobs for drawn in alone]


def test_temperature_sharpens_and_flattens():
    logits = PROBS.log()

    for temperature in (0.5, 2.0):
        expected = torch.softmax(logits / temperature, dim=-1)
        tokens = torch.tensor(draws(params(temperature=temperature, seed=5), logits, 2_000))
        assert chi_square(tokens, expected) < CRITICAL[8]


@pytest.mark.parametrize("sampling", [params(temperature=0), params(top_p=0.0)])
def test_temperature_zero_and_top_p_zero_are_greedy(sampling):
    assert set(draws(sampling, PROBS.flip(0).log(), 50)) == {8}


def nucleus_by_sorting(probs, top_p):
    kept = torch.zeros_like(probs)
    mass = 0.0
    for token in probs.argsort(descending=True).tolist():
        kept[token] = probs[token]
        mass += float(probs[token])
        if mass >= top_p:
            return kept
    return kept


@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0])
def test_the_nucleus_is_the_one_that_sorting_finds(scale):
    # A small scale makes it wider than the sampler's first guess, a large one narrower.
    torch.manual_seed(0)
    probs = torch.softmax(torch.randn(4, 3_000) * scale, dim=-1)
    top_p = torch.tensor([[0.2], [0.9], [0.999], [1.0]], dtype=torch.float64)

    kept = keep_nucleus(probs, top_p)

    for row in range(3):
        assert torch.equal(kept[row], nucleus_by_sorting(probs[row], float(top_p[row])))
    assert torch.equal(kept[3], probs[3])


def test_the_likeliest_are_those_that_sorting_finds():
    torch.manual_seed(0)
    probs = torch.softmax(torch.randn(3, 200), dim=-1)
    ordered = probs.sort(dim=-1, descending=True).values

    kept = keep_top(probs, torch.tensor([[1], [17], [0]]), 17)

    assert torch.equal(kept[0], torch.where(probs[0] >= ordered[0, 0], probs[0], 0))
    assert torch.equal(kept[1], torch.where(probs[1] >= ordered[1, 16], probs[1], 0))
    assert torch.equal(kept[2], probs[2])


def test_the_likely_are_told_by_the_likeliest():
    kept = keep_likely(PROBS.repeat(3, 1), torch.tensor([[0.0], [0.5], [1.0]]))

    assert [int((row > 0).sum()) for row in kept] == [9, 3, 1]


def test_no_token_without_weight_is_drawn_at_either_end():
    weights = torch.tensor([[0.0, 0.5, 0.0, 0.5, 0.0]])

    first = invert_cdf(weights, torch.tensor([0.0], dtype=torch.float64))
    last = invert_cdf(weights, torch.tensor([1 - 2.0**-52], dtype=torch.float64))

    assert (int(first), int(last)) == (1, 3)


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_a_large_rows_sum_is_the_same_alone_and_beside_others():
    """Alone and in two threads torch itself adds it up otherwise."""
    torch.manual_seed(0)
    probs = torch.softmax(torch.randn(20, 50_000) * 3, dim=-1)

    sums = row_sums(probs)

    assert torch.equal(torch.cat([row_sums(row[None]) for row in probs]), sums)
    torch.testing.assert_close(sums, torch.ones(20, 1))


@pytest.mark.usefixtures("two_threads")
def test_a_draw_does_not_depend_on_the_other_rows_or_its_place():
    torch.manual_seed(0)
    logits = torch.randn(12, 40_000) * 3
    sampling = params(temperature=0.9, top_p=0.8, top_k=900, seed=42, logprobs=3)
    alone, sampler = [], Sampler(CPU)
    row = sequence(sampling)
    for at in range(12):
        alone += sampler.sample(logits[at][None], (row,))
        row.output_ids.append(alone[-1].token_id)

    others = [sequence(each) for each in (params(0), params(1.3, seed=9), params(0.7, 0.5))]
    again, beside, sampler = sequence(sampling), [], Sampler(CPU)
    for at in range(12):
        rows = [*others[: at % 4], again, *others[at % 4 :]]
        wanted = torch.stack([logits[at if row is again else 3] for row in rows])
        drawn = sampler.sample(wanted, tuple(rows))[rows.index(again)]
        beside.append(drawn)
        again.output_ids.append(drawn.token_id)

    assert beside == alone
    assert len(set(alone)) > 6


def test_a_sequence_continues_elsewhere_with_the_same_draws():
    sampling = params(seed=11)
    logits = PROBS.log()

    whole = draws(sampling, logits, 20, choice=2)

    assert draws(sampling, logits, 13, choice=2, index=7) == whole[7:]
    assert draws(sampling, logits, 20, choice=1) != whole


def test_a_row_that_waits_goes_on_with_its_stream():
    sampling = params(seed=4)
    logits = PROBS.log()
    sampler, row, other = Sampler(CPU), sequence(sampling), sequence(params(seed=5))

    for at in range(12):
        step(sampler, logits.repeat(1, 1), [other])
        if at % 3:
            step(sampler, logits.repeat(2, 1), [other, row])
    sampler.release(other)
    for _ in range(5):
        step(sampler, logits.repeat(1, 1), [row])

    assert row.output_ids == draws(sampling, logits, 13)


@pytest.mark.parametrize("sampling", [params(0), params(1.0), params(1.0, top_p=0.9)])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_row_without_finite_logits_gets_no_token_and_harms_no_other(sampling, bad):
    rows = [sequence(params(0)), sequence(sampling)]
    logits = PROBS.log().repeat(2, 1)
    logits[1, 4] = bad

    assert step(Sampler(CPU), logits, rows) == [0, NO_TOKEN]


def test_bfloat16_logits_are_sampled_in_float32():
    logits = PROBS.log().bfloat16()
    expected = torch.softmax(logits.float(), dim=-1)

    tokens = torch.tensor(draws(params(seed=6), logits, 2_000))

    assert chi_square(tokens, expected) < CRITICAL[8]
