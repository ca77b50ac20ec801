"""The real model, batched, gives what transformers gives for each prompt alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from services.worker.engine.engine import Engine, StepOutput
from services.worker.engine.model_runner import ModelRunner
from services.worker.engine.scheduler import Limits, Scheduler
from services.worker.engine.sequence import SamplingParams, Sequence
from services.worker.loading import load_model
from shared.protocol.priority import Priority
from shared.settings import WorkerSettings
from tests.fakes.generate import generate

pytestmark = [pytest.mark.e2e, pytest.mark.model, pytest.mark.torch]

NEW_TOKENS = 12
QUESTIONS = [
    "What is the capital of France?",
    "Hi",
    "Write a haiku about rain.",
    "Name three primary colours and say where each of them is found in nature.",
    "2 + 2 =",
    "Explain photosynthesis to a child. " * 3,
    "Translate 'good morning' into Spanish.",
    "List the planets, one a line.",
] * 2


def prompts_of(loaded: Any) -> list[tuple[int, ...]]:
    return [
        tuple(
            loaded.tokenizer.apply_chat_template(
                [{"role": "user", "content": question + " Please." * (index // 8)}],
                add_generation_prompt=True,
                return_dict=False,
            )
        )
        for index, question in enumerate(QUESTIONS)
    ]


def make_engine(
    loaded: Any, slots: int = 16, *, deterministic: bool = False, **options: int
) -> Engine:
    runner = ModelRunner(
        loaded.model,
        max_num_seqs=slots,
        max_model_len=1024,
        eos_token_ids=loaded.eos_token_ids,
        deterministic=deterministic,
    )
    limits = Limits(
        max_num_seqs=slots,
        max_waiting=16,
        max_model_len=runner.max_model_len,
        kv_cache_tokens=runner.kv_cache_tokens,
        max_num_batched_tokens=128,
        **options,
    )
    return Engine(runner, Scheduler(limits))


def run(engine: Engine, sequences: list[Sequence]) -> list[list[StepOutput]]:
    """Return each one's outputs, all in one batch that grows step by step."""
    for sequence in sequences:
        engine.add(sequence)
    answers: dict[str, list[StepOutput]] = {each.request_id: [] for each in sequences}
    while engine.has_work:
        for output in engine.step():
            answers[output.request_id].append(output)
    return list(answers.values())


def test_sixteen_mixed_prompts_token_for_token(demo_model: str) -> None:
    loaded = load_model(WorkerSettings(model=demo_model, dtype="float32"))
    prompts = prompts_of(loaded)
    # References first: the runner takes the model over.
    expected = [generate(loaded.model, prompt, NEW_TOKENS) for prompt in prompts]
    params = SamplingParams(max_tokens=NEW_TOKENS, seed=0, temperature=0)

    sequences = [Sequence(str(i), 0, prompt, params) for i, prompt in enumerate(prompts)]
    answers = run(make_engine(loaded), sequences)

    assert [[output.token_id for output in answer] for answer in answers] == expected
    assert len({tuple(tokens) for tokens in expected}) > 8


def test_deterministic_mode_alone_beside_others_and_resumed(demo_model: str) -> None:
    """In bfloat16 and in all threads there are, tokens and logprobs to the last bit."""
    loaded = load_model(WorkerSettings(model=demo_model, dtype="bfloat16"))
    assert loaded.model.dtype == torch.bfloat16
    prompts = prompts_of(loaded)[2:6]
    engine = make_engine(loaded, 4, deterministic=True, chunk_tokens=32, prefix_cache_tokens=400)

    def sequence(i: int, output_ids: tuple[int, ...] = ()) -> Sequence:
        params = SamplingParams(
            max_tokens=NEW_TOKENS, seed=i, temperature=0.9 * (i % 3), top_k=500, top_p=0.9,
            logprobs=2, ignore_eos=True,
        )  # fmt: skip
        return Sequence(str(i), 0, prompts[i], params, Priority(i % 2), output_ids=list(output_ids))

    alone = [run(engine, [sequence(i)])[0] for i in range(4)]
    assert run(engine, [sequence(i) for i in range(4)]) == alone
    emitted = [tuple(output.token_id or 0 for output in answer) for answer in alone]
    resumed = run(engine, [sequence(i, emitted[i][: 3 * i]) for i in reversed(range(4))])
    assert resumed == [alone[i][3 * i :] for i in reversed(range(4))]
