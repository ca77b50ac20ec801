"""Memory follows the tokens that are held: at most a quarter of it is idle.

Waste is 1 - tokens held / tokens allocated to running sequences, averaged over the steps of a mixed
load: prompts of 10 to 1,500 tokens and answers of 10 to 600, which come and go.
"""

import random
from statistics import mean

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from services.worker.engine.engine import Engine
from services.worker.engine.model_runner import ModelRunner
from services.worker.engine.scheduler import Limits, Scheduler
from services.worker.engine.sequence import SamplingParams, Sequence
from tests.fakes.runner import FakeRunner

pytestmark = pytest.mark.torch

MOST = 0.25
CONTEXT = 2200
STEPS = 800


def limits(max_num_seqs, kv_cache_tokens):
    return Limits(
        max_num_seqs=max_num_seqs,
        max_waiting=10**6,
        max_model_len=CONTEXT,
        kv_cache_tokens=kv_cache_tokens,
        prefix_cache_tokens=10_000,
        max_num_batched_tokens=512,
    )


def mixed(chance, name):
    """Return a sequence; short prompts are as frequent as long ones are."""
    prompt = int(10 * 150 ** chance.random())
    params = SamplingParams(
        max_tokens=chance.randint(10, 600), seed=0, temperature=0, ignore_eos=True
    )
    return Sequence(name, 0, tuple(chance.randrange(1, 60) for _ in range(prompt)), params)


def wastes(engine, allocated, *, rows, steps=STEPS):
    """Return the waste after each step of a load that keeps about `rows` rows busy."""
    chance = random.Random(0)
    scheduler = engine.scheduler
    measured, arrived = [], 0
    for _ in range(steps):
        running = len(scheduler.running) + len(scheduler.waiting)
        # In bursts of four on average; a mean answer has 305 tokens. Never fewer than half run.
        burst = chance.randint(1, 7) if chance.random() < rows / 305 / 4 else 0
        for _ in range(max(burst, running < rows // 2)):
            engine.add(mixed(chance, str(arrived)))
            arrived += 1
        engine.step()
        measured.append(1 - scheduler.kv_tokens_held / allocated())
    return measured


@pytest.mark.parametrize("rows", [16, 32, 64])
@pytest.mark.parametrize("tokens_a_row", [CONTEXT, 600])
def test_rows_are_a_quarter_idle_at_most(rows, tokens_a_row):
    scheduler = Scheduler(limits(rows, rows * tokens_a_row))
    engine = Engine(FakeRunner(rows * tokens_a_row), scheduler)

    measured = wastes(engine, lambda: scheduler.kv_tokens_used, rows=rows)

    assert mean(measured) <= MOST


def tiny_runner(rows, kv_cache_tokens):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        max_position_embeddings=CONTEXT,
    )
    return ModelRunner(
        LlamaForCausalLM(config),
        max_num_seqs=rows,
        max_model_len=CONTEXT,
        eos_token_ids=frozenset(),
        kv_cache_tokens=kv_cache_tokens,
    )


@pytest.mark.parametrize("rows", [16, 64])
@pytest.mark.parametrize("tokens_a_row", [CONTEXT, 600])
def test_tensors_are_a_quarter_idle_at_most(rows, tokens_a_row):
    runner = tiny_runner(rows, rows * tokens_a_row)
    engine = Engine(runner, Scheduler(limits(rows, rows * tokens_a_row)))
    idle = []

    def allocated():
        idle.append(runner.cache.idle_tokens)
        return runner.cache.running_tokens

    measured = wastes(engine, allocated, rows=rows, steps=500)
    assert mean(measured) <= MOST
    # Rows that no sequence has are no sequence's waste; they are few.
    assert max(idle) <= rows * tokens_a_row / 8
