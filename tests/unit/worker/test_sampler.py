import pytest
import torch

from services.worker.engine.sampler import Sampler
from services.worker.engine.sequence import NO_TOKEN, SamplingParams, Sequence
from services.worker.engine.truncation import invert_cdf, keep_nucleus
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


def one_row(sampling, *, choice=0, index=0):
    sampler = Sampler(1, CPU)
    sampler.assign(0, sequence(sampling, choice=choice, output=[0] * index))
    return sampler


def draws(sampling, logits, count, **kwargs):
    sampler = one_row(sampling, **kwargs)
    return [int(sampler.sample(logits[None], slice(0, 1))) for _ in range(count)]


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


def test_no_token_without_weight_is_drawn_at_either_end():
    weights = torch.tensor([[0.0, 0.5, 0.0, 0.5, 0.0]])

    first = invert_cdf(weights, torch.tensor([0.0], dtype=torch.float64))
    last = invert_cdf(weights, torch.tensor([1 - 2.0**-52], dtype=torch.float64))

    assert (int(first), int(last)) == (1, 3)


def test_a_draw_does_not_depend_on_the_other_rows_or_the_slot():
    torch.manual_seed(0)
    logits = torch.randn(12, 300)
    sampling = params(temperature=0.9, top_p=0.8, seed=42)
    alone = draws(sampling, logits[0], 12)

    batch = Sampler(4, CPU)
    for slot, other in enumerate([params(0), params(1.3, seed=9), sampling, params(0.7, 0.5)]):
        batch.assign(slot, sequence(other))
    beside = [
        int(
            batch.sample(torch.stack([logits[step], logits[3], logits[0], logits[1]]), slice(0, 4))[
                2
            ]
        )
        for step in range(12)
    ]

    assert beside == alone


def test_a_sequence_continues_elsewhere_with_the_same_draws():
    sampling = params(seed=11)
    logits = PROBS.log()

    whole = draws(sampling, logits, 20, choice=2)

    assert draws(sampling, logits, 13, choice=2, index=7) == whole[7:]
    assert draws(sampling, logits, 20, choice=1) != whole


def test_a_moved_row_goes_on_with_its_stream():
    sampling = params(seed=4)
    logits = PROBS.log()
    whole = draws(sampling, logits, 13)
    sampler = Sampler(3, CPU)
    for slot in range(3):
        sampler.assign(slot, sequence(params(0)))
    sampler.assign(2, sequence(sampling, output=[0] * 3))

    rows = logits.expand(3, -1)
    before = [int(sampler.sample(rows, slice(0, 3))[2]) for _ in range(4)]
    sampler.move(2, 0)
    after = [int(sampler.sample(rows[:1], slice(0, 1))) for _ in range(6)]

    assert before + after == whole[3:]


@pytest.mark.parametrize("sampling", [params(0), params(1.0), params(1.0, top_p=0.9)])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_row_without_finite_logits_gets_no_token_and_harms_no_other(sampling, bad):
    sampler = Sampler(2, CPU)
    sampler.assign(0, sequence(params(0)))
    sampler.assign(1, sequence(sampling))
    logits = PROBS.log().repeat(2, 1)
    logits[1, 4] = bad

    assert sampler.sample(logits, slice(0, 2)).tolist() == [0, NO_TOKEN]


def test_bfloat16_logits_are_sampled_in_float32():
    logits = PROBS.log().bfloat16()
    expected = torch.softmax(logits.float(), dim=-1)

    tokens = torch.tensor(draws(params(seed=6), logits, 2_000))

    assert chi_square(tokens, expected) < CRITICAL[8]
