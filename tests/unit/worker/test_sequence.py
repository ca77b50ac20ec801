import pytest

from services.worker.engine.sequence import FinishReason, SamplingParams, Sequence


def test_length_counts_prompt_and_output():
    sequence = Sequence("r", 0, (1, 2, 3), SamplingParams(max_tokens=5, seed=0), output_ids=[4])

    assert sequence.length == 4
    assert sequence.remaining == 4


def test_key_tells_the_choices_of_a_request_apart():
    params = SamplingParams(max_tokens=1, seed=0)

    first, second = (Sequence("r", choice, (1,), params) for choice in range(2))

    assert (first.key, second.key) == (("r", 0), ("r", 1))


def test_sequences_with_equal_fields_are_not_equal():
    params = SamplingParams(max_tokens=1, seed=0)

    assert Sequence("r", 0, (1,), params) != Sequence("r", 0, (1,), params)


@pytest.mark.parametrize(
    ("output", "params", "reason"),
    [
        ([4], {}, None),
        ([2], {}, FinishReason.STOP),
        ([2], {"ignore_eos": True}, None),
        ([2], {"ignore_eos": True, "stop_token_ids": frozenset({2})}, FinishReason.STOP),
        ([4, 9], {"stop_token_ids": frozenset({9})}, FinishReason.STOP),
        ([4, 4, 4], {"max_tokens": 3}, FinishReason.LENGTH),
        ([4, 4, 2], {"max_tokens": 3}, FinishReason.STOP),
        ([4] * 4, {}, None),
        ([4] * 5, {}, FinishReason.LENGTH),
    ],
)
def test_the_last_token_may_end_it(output, params, reason):
    wanted = SamplingParams(**({"max_tokens": 50, "seed": 0} | params))
    sequence = Sequence("r", 0, (1, 2, 3), wanted, output_ids=output)

    assert sequence.ending(frozenset({2}), 8) is reason
