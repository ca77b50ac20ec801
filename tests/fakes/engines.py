"""Engines on tiny random models, and what is asked of them."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from services.worker.engine.engine import Engine, StepOutput
from services.worker.engine.model_runner import ModelRunner
from services.worker.engine.scheduler import Limits, Scheduler
from services.worker.engine.sequence import FinishReason, SamplingParams, Sequence
from shared.protocol.priority import Priority
from tests.fakes.tiny_models import CONTEXT, EOS, VOCABULARY

CHUNK = 16


def make_engine(
    model: Any,
    *,
    max_num_seqs: int = 6,
    max_model_len: int = CONTEXT,
    kv_cache_tokens: int = 0,
    prefix_cache_tokens: int = 0,
    max_num_batched_tokens: int = 40,
    draft_tokens: int = 5,
    deterministic: bool = False,
) -> Engine:
    """Return an engine that owns the model from now on."""
    runner = ModelRunner(
        model,
        max_num_seqs=max_num_seqs,
        max_model_len=max_model_len,
        eos_token_ids=frozenset({EOS}),
        kv_cache_tokens=kv_cache_tokens,
        deterministic=deterministic,
    )
    limits = Limits(
        max_num_seqs=max_num_seqs,
        max_waiting=100,
        max_model_len=runner.max_model_len,
        kv_cache_tokens=runner.kv_cache_tokens,
        max_num_batched_tokens=max_num_batched_tokens,
        draft_tokens=draft_tokens if runner.takes_drafts else 0,
        prefix_cache_tokens=prefix_cache_tokens,
        chunk_tokens=CHUNK if deterministic else 0,
    )
    return Engine(runner, Scheduler(limits))


def make_prompts(
    count: int, seed: int = 0, lengths: Iterable[int] = (1, 2, 7, 30, 70, 120)
) -> list[tuple[int, ...]]:
    """Return random prompts of some of these lengths."""
    chance = random.Random(seed)
    sizes = [chance.choice(list(lengths)) for _ in range(count)]
    return [tuple(chance.randrange(6, VOCABULARY) for _ in range(n)) for n in sizes]


def greedy(
    name: object,
    prompt: tuple[int, ...],
    max_tokens: int,
    priority: Priority = Priority.INTERACTIVE,
    output_ids: Iterable[int] = (),
) -> Sequence:
    """Return a sequence that takes the likeliest tokens."""
    params = SamplingParams(max_tokens=max_tokens, seed=0, temperature=0)
    return Sequence(str(name), 0, prompt, params, priority, output_ids=list(output_ids))


@dataclass
class Answers:
    """What an engine gave, by request id."""

    outputs: dict[str, list[StepOutput]] = field(default_factory=dict[str, list[StepOutput]])

    def tokens(self, name: object) -> list[int]:
        """Return the tokens of a request."""
        outputs = self.outputs.get(str(name), [])
        return [output.token_id for output in outputs if output.token_id is not None]

    def end(self, name: object) -> FinishReason | None:
        """Return why it ended."""
        return self.outputs[str(name)][-1].finish_reason


def run(
    engine: Engine,
    arrivals: Iterable[tuple[int, Sequence]],
    aborts: Iterable[tuple[int, object]] = (),
) -> Answers:
    """Step to the end; `arrivals` and `aborts` say before which step what happens."""
    coming, going = list(arrivals), [(at, str(name)) for at, name in aborts]
    answers = Answers()
    step = 0
    while engine.has_work or any(at >= step for at, _ in coming):
        for at, sequence in coming:
            if at == step:
                engine.add(sequence)
        for at, name in going:
            if at == step:
                engine.abort(name)
        for output in engine.step():
            answers.outputs.setdefault(output.request_id, []).append(output)
        step += 1
    return answers
