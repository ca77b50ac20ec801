"""The worker with a real, tiny model: batches, seeds, and the same answers without a server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from services.worker.local import LocalChat
from services.worker.opening import open_model
from shared.errors import ContextTooLong, InvalidRequest, ModelNotThere
from tests.fakes.model_files import save_folder, tiny_llama
from tests.fakes.running_worker import RunningWorker
from tests.fakes.waiting import eventually

pytestmark = pytest.mark.torch

MODEL = "tiny"
GREEDY = {"temperature": 0, "max_tokens": 12}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return save_folder(tiny_llama(), tmp_path_factory.mktemp("model") / MODEL)


@pytest.fixture
async def worker(folder: Path) -> AsyncIterator[RunningWorker]:
    running = await RunningWorker(
        open_model, model=str(folder), model_name="", max_num_seqs=4, dtype="float32", threads=1
    ).listening()
    await eventually(running.ready, seconds=60)
    yield running
    await running.stop()


@pytest.fixture
async def deterministic(folder: Path) -> AsyncIterator[RunningWorker]:
    """In bfloat16, whose rounding shows at once who computes beside whom."""
    running = await RunningWorker(
        open_model,
        model=str(folder),
        model_name="",
        max_num_seqs=4,
        dtype="bfloat16",
        threads=1,
        deterministic=True,
    ).listening()
    await eventually(running.ready, seconds=60)
    yield running
    await running.stop()


async def ask(worker: RunningWorker, text: str, **parameters: Any) -> str:
    answer = await worker.openai.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": text}], **parameters
    )
    return answer.choices[0].message.content or ""


async def test_a_batch_gives_what_each_request_gives_alone(worker):
    texts = [f"question {'ab' * length}" for length in range(10)]
    sampled = {"temperature": 0.9, "top_p": 0.9, "seed": 5, "max_tokens": 12}
    for parameters in (GREEDY, sampled):
        alone = [await ask(worker, text, **parameters) for text in texts]
        together = await asyncio.gather(*(ask(worker, text, **parameters) for text in texts))
        assert together == alone
    await worker.idle()


async def test_in_deterministic_mode_company_changes_no_bit(deterministic):
    async def told(text: str) -> list[tuple[str, float]]:
        answer = await deterministic.openai.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": text}],
            temperature=0.9,
            top_p=0.9,
            seed=5,
            max_tokens=12,
            logprobs=True,
        )
        return [(each.token, each.logprob) for each in answer.choices[0].logprobs.content]

    texts = [f"question {'ab' * length}" for length in range(8)]
    alone = [await told(text) for text in texts]
    assert await asyncio.gather(*(told(text) for text in texts)) == alone
    assert await asyncio.gather(*(told(text) for text in reversed(texts))) == alone[::-1]


async def test_a_stream_has_the_same_text(worker):
    stream = await worker.openai.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "Hi"}], stream=True, **GREEDY
    )
    pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert "".join(pieces) == await ask(worker, "Hi", **GREEDY)


async def test_what_repeats_itself_comes_in_drafts_that_the_metrics_count(worker):
    await ask(worker, "a word and a word and a word", temperature=0, max_tokens=60)

    drafted, accepted, steps, tokens = [
        await worker.metric(f"llmzoo_{name}_total", model=MODEL)
        for name in (
            "spec_decode_draft_tokens",
            "spec_decode_accepted_tokens",
            "engine_steps",
            "generation_tokens",
        )
    ]

    assert 0 < accepted <= drafted
    # One step more for the token that warms the engine up, and one of its own may follow.
    assert steps <= tokens - accepted + 2


async def test_a_seed_decides_the_answer(worker):
    first, again, other = [
        await ask(worker, "Hi", temperature=1.5, seed=seed, max_tokens=12) for seed in (1, 1, 2)
    ]
    assert first == again != other


async def test_what_it_announces(worker):
    models = await worker.openai.models.list()
    assert [(m.id, m.max_model_len) for m in models.data] == [(MODEL, 256)]
    assert await worker.metric("llmzoo_model_load_seconds", model=MODEL) > 0


async def test_the_same_answer_without_a_server(worker, folder):
    seen = []
    messages = [{"role": "user", "content": "Hi"}]
    async with LocalChat(str(folder), on_progress=seen.append, dtype="float32", threads=1) as chat:
        assert chat.model == MODEL
        for _ in range(2):
            found = [piece async for piece in chat.stream(messages, GREEDY)]
            assert "".join(text for text, _ in found) == await ask(worker, "Hi", **GREEDY)
            assert [reason for _, reason in found if reason] in (["length"], ["stop"])
        # An answer that is stopped frees the engine for the next.
        stopped = chat.stream(messages, {"max_tokens": 200})
        await anext(stopped)
        await stopped.aclose()
        assert [reason async for _, reason in chat.stream(messages, GREEDY)][-1]
        with pytest.raises(ContextTooLong):
            await anext(chat.stream(messages, {"max_tokens": 300}))
        with pytest.raises(InvalidRequest):
            await anext(chat.stream(messages, {"temperature": 9}))
    assert seen


async def test_a_local_model_that_is_not_there():
    with pytest.raises(ModelNotThere):
        async with LocalChat("./no-such-folder"):
            pass
