"""`llmzoo bench engine`: what a sequence's outputs come to as a sample."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count
from types import SimpleNamespace

from services.cli.bench.engine import asking
from services.cli.bench.sample import Outcome, Sample
from shared.errors import ContextTooLong


class ScriptedLoop:
    """Gives every sequence these tokens, or refuses it."""

    def __init__(self, tokens: Iterable[int | None] = (), refusal: Exception | None = None) -> None:
        self.sequences = []
        self._tokens = tokens
        self._refusal = refusal

    def submit(self, sequence):
        if self._refusal is not None:
            raise self._refusal
        self.sequences.append(sequence)
        return self._stream()

    async def _stream(self):
        for token in self._tokens:
            yield SimpleNamespace(token_id=token)


async def asked(loop, times=1):
    ask = asking(loop, ((number, 7) for number in count()), max_tokens=3)
    for _ in range(times):
        sample = Sample(0.0)
        await ask(sample)
    return sample


async def test_each_token_arrives_by_itself():
    sample = await asked(ScriptedLoop([1, 2, 3]))
    assert sample.outcome is Outcome.COMPLETED
    assert (sample.prompt_tokens, sample.output_tokens, len(sample.arrivals)) == (2, 3, 3)
    assert sample.started < sample.arrivals[0] <= sample.arrivals[2] <= sample.ended


async def test_requests_are_greedy_full_length_and_their_own():
    loop = ScriptedLoop([1, 2, 3])
    await asked(loop, times=2)
    first, second = loop.sequences
    assert first.key != second.key
    assert (first.prompt_ids, second.prompt_ids) == ((0, 7), (1, 7))
    assert (first.params.temperature, first.params.max_tokens) == (0.0, 3)
    assert first.params.ignore_eos


async def test_a_sequence_that_ends_early_has_failed():
    sample = await asked(ScriptedLoop([1, None]))
    assert (sample.outcome, sample.fault) == (Outcome.FAILED, "the engine ended it early")


async def test_a_refusal_is_a_failure_with_its_reason():
    sample = await asked(ScriptedLoop(refusal=ContextTooLong("too long")))
    assert (sample.outcome, sample.fault) == (Outcome.FAILED, "too long")
