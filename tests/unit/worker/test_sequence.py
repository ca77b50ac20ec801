from services.worker.engine.sequence import SamplingParams, Sequence


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
