"""The real model, batched, gives what transformers gives for each prompt alone."""

from __future__ import annotations

from typing import Any

import pytest

from services.worker.engine.engine import Engine
from services.worker.engine.model_runner import ModelRunner
from services.worker.engine.scheduler import Limits, Scheduler
from services.worker.engine.sequence import SamplingParams, Sequence
from services.worker.loading import load_model
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


def test_sixteen_mixed_prompts_token_for_token(demo_model: str) -> None:
    loaded = load_model(WorkerSettings(model=demo_model, dtype="float32"))
    tokenizer: Any = loaded.tokenizer
    prompts = [
        tuple(
            tokenizer.apply_chat_template(
                [{"role": "user", "content": question + " Please." * (index // 8)}],
                add_generation_prompt=True,
                return_dict=False,
            )
        )
        for index, question in enumerate(QUESTIONS)
    ]
    # References first: the runner replaces the model's attention.
    expected = [generate(loaded.model, prompt, NEW_TOKENS) for prompt in prompts]
    assert batched(loaded, prompts) == expected
    assert len({tuple(tokens) for tokens in expected}) > 8


def batched(loaded: Any, prompts: list[tuple[int, ...]]) -> list[list[int]]:
    """Return the engine's answers, all prompts in one batch that grows step by step."""
    runner = ModelRunner(
        loaded.model,
        max_num_seqs=16,
        max_model_len=1024,
        eos_token_ids=loaded.eos_token_ids,
    )
    limits = Limits(
        max_num_seqs=16,
        max_waiting=16,
        max_model_len=runner.max_model_len,
        kv_cache_tokens=runner.kv_cache_tokens,
        max_num_batched_tokens=128,
    )
    engine = Engine(runner, Scheduler(limits))
    params = SamplingParams(max_tokens=NEW_TOKENS, seed=0, temperature=0)
    for number, prompt in enumerate(prompts):
        engine.add(Sequence(str(number), 0, prompt, params))
    answers: list[list[int]] = [[] for _ in prompts]
    while engine.has_work:
        for output in engine.step():
            if output.token_id is not None:
                answers[int(output.request_id)].append(output.token_id)
    return answers
