"""The worker as a process: its states in Redis, how it stops, with which exit code."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from shared.protocol.attach import ATTACH_PATH, encode_attach
from shared.protocol.frames import EndFrame, ErrorFrame, Frame, FrameDecoder, LedgerFrame
from shared.protocol.prefix_chain import chain_of, unpack
from shared.protocol.workers import ServiceRecord, State
from shared.registry import RegistryView
from shared.settings import FleetSettings
from tests.fakes.model_files import save_folder, tiny_llama
from tests.fakes.running_service import TOKEN
from tests.fakes.running_worker import FRAMED, INTERNAL
from tests.fakes.scrape import sample
from tests.fakes.waiting import eventually
from tests.fakes.worker_process import WorkerProcess

pytestmark = [pytest.mark.torch, pytest.mark.redis]


Start = Callable[..., Awaitable[WorkerProcess]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return save_folder(tiny_llama(), tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
async def start(redis_server) -> AsyncIterator[Start]:
    """A function that starts a worker; its arguments are settings."""
    started: list[WorkerProcess] = []

    async def make(**settings: Any) -> WorkerProcess:
        started.append(await WorkerProcess.start(redis_url=redis_server.url, **settings))
        return started[-1]

    yield make
    for worker in started:
        await worker.close()


@pytest.fixture
async def records(redis_server) -> AsyncIterator[Callable[[], Awaitable[list[ServiceRecord]]]]:
    """A function that returns what stands in the registry."""
    view = RegistryView(FleetSettings(redis_url=redis_server.url, internal_token=TOKEN))

    async def read() -> list[ServiceRecord]:
        return list((await view.snapshot()).records)

    yield read
    await view.close()


def body(**changes: Any) -> dict[str, Any]:
    return {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}], **changes}


async def test_from_the_first_second_to_a_drained_end(start, records, folder):
    worker = await start(model=folder)

    async def announced() -> bool:
        return len(await records()) == 1

    await eventually(announced, seconds=30)
    (early,) = await records()
    assert (early.kind, early.models[0].id) == ("worker", "tiny")
    assert early.state in {State.STARTING, State.LOADING}
    assert early.id == f"worker-{socket.gethostname()}-{worker.port}"
    assert early.address == f"http://127.0.0.1:{worker.port}"
    await worker.reaches("ready")

    async def ready() -> bool:
        return (await records())[0].state is State.READY

    await eventually(ready)
    (record,) = await records()
    assert record.models[0].max_model_len == 256
    assert record.models[0].fingerprint.startswith("fp_")
    assert record.load is not None
    assert (record.load.max_num_seqs, record.load.running) == (64, 0)
    # A long answer that runs when the signal comes is finished first.
    async with worker.client.stream(
        "POST", "/v1/chat/completions", json=body(max_tokens=200, stream=True)
    ) as answer:
        lines = answer.aiter_lines()
        await anext(lines)
        worker.process.send_signal(signal.SIGTERM)
        rest = [line async for line in lines]
    assert rest[-2:] == ["data: [DONE]", ""]
    code, stderr = await worker.ended()
    assert code == 0, stderr
    assert await records() == []
    assert "Traceback" not in stderr
    # Prompts and answers are not logged.
    assert "<|im_start|>" not in stderr


async def test_its_record_tells_what_it_keeps_for_reuse_and_how_fast_it_is(start, records, folder):
    worker = await start(model=folder, speed=2.5)
    await worker.reaches("ready")
    asked = body(messages=[{"role": "user", "content": "ab" * 150}], max_tokens=4)
    blocks = set(chain_of(asked))
    assert len(blocks) == 1
    assert (await worker.client.post("/v1/chat/completions", json=asked)).is_success

    async def told() -> bool:
        (record,) = await records()
        return unpack(record.prefixes) == blocks

    await eventually(told)
    (record,) = await records()
    assert record.speed == 2.5
    assert record.load is not None
    assert record.load.prefill_tokens_per_second > 0


@pytest.mark.parametrize("model", ["./no-such-folder", "not a reference"])
async def test_a_model_that_is_not_there_exits_with_2_and_leaves_no_record(start, records, model):
    worker = await start(model=model)
    code, stderr = await worker.ended()
    assert code == 2
    assert stderr.splitlines()[-1].startswith("worker: ")
    assert "Traceback" not in stderr
    assert await records() == []


async def test_a_folder_that_is_no_model_exits_with_2(start, records, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    worker = await start(model=tmp_path)
    code, stderr = await worker.ended()
    assert code == 2
    assert stderr.splitlines()[-1].startswith("worker: ")
    assert await records() == []


async def test_a_wrong_setting_exits_with_2(start):
    worker = await start(max_num_seqs=-1)
    code, stderr = await worker.ended()
    assert (code, stderr.splitlines()[-1][:29]) == (2, "worker: LLMZOO_MAX_NUM_SEQS: ")


async def test_a_model_that_does_not_fit_exits_with_2_and_the_numbers(start, records, folder):
    worker = await start(model=folder, memory_gib=0.0004)
    code, stderr = await worker.ended()
    assert code == 2
    assert stderr.splitlines()[-1] == (
        "worker: The model needs 0.3 MiB for its weights and 0.1 MiB for one sequence of 256 "
        "tokens. 0.4 MiB of memory are free; the KV cache may take 50% of what the weights leave."
        " What fits: --load-8bit or --load-4bit."
    )
    assert await records() == []


async def test_a_signal_while_the_model_loads(start, records, folder):
    worker = await start(model=folder)
    await worker.reaches("starting", "loading", "warming", "ready")
    worker.process.send_signal(signal.SIGTERM)
    code, stderr = await worker.ended()
    assert code == 0, stderr
    assert await records() == []


async def read_some(worker: WorkerProcess, request: dict[str, Any], pieces: int) -> list[Frame]:
    """Return the first frames of an answer, whose connection is closed then."""
    decoder = FrameDecoder()
    found: list[Frame] = []
    call = worker.client.stream("POST", "/v1/chat/completions", json=request, headers=FRAMED)
    async with call as answer:
        async for piece in answer.aiter_raw():
            found += decoder.feed(piece)
            if len(found) >= pieces:
                break
    return found


async def test_an_orphan_is_taken_over_while_its_worker_stops(start, records, folder):
    worker = await start(model=folder)
    await worker.reaches("ready")
    # Greedy, it would go on for ever; the model has no way to end its turn.
    request = body(max_tokens=200, temperature=0, stream=True, logit_bias={"2": -100})
    cut, ended = [await read_some(worker, request, 2) for _ in range(2)]
    worker.process.send_signal(signal.SIGTERM)
    await worker.reaches("draining")
    # A request of its own on a connection of its own; whoever aborts comes through as well.
    path = f"/internal/requests/{ended[0].id}/abort"
    assert (await worker.client.post(path, headers=INTERNAL)).status_code == 204
    assert (await worker.client.post("/v1/chat/completions", json=request)).status_code == 503
    decoder = FrameDecoder()
    content = encode_attach(cut[0].id, 0, "", request)
    answer = await worker.client.post(ATTACH_PATH, content=content, headers=INTERNAL)
    start_frame, ledger, *tokens, end = decoder.feed(answer.content)
    assert start_frame == cut[0]
    assert ledger == LedgerFrame(0, [[]])
    assert sum(len(frame.token_ids) for frame in tokens) == 200
    assert isinstance(end, EndFrame)
    # Nothing is left to wait for, long before the grace period or the drain's time are over.
    code, stderr = await asyncio.wait_for(worker.ended(), timeout=5)
    assert code == 0, stderr
    assert "Traceback" not in stderr
    assert await records() == []


async def test_what_outlasts_the_drain_is_handed_back(start, folder):
    worker = await start(model=folder, drain_timeout=0.02, max_num_seqs=1)
    await worker.reaches("ready")
    request = body(max_tokens=200, n=1, stream=True)
    calls = [
        asyncio.create_task(
            worker.client.post("/v1/chat/completions", json=request, headers=FRAMED)
        )
        for _ in range(40)
    ]

    async def running() -> bool:
        text = (await worker.client.get("/metrics")).text
        return sample(text, "llmzoo_num_requests_waiting", model="tiny") >= 5

    await eventually(running)
    worker.process.send_signal(signal.SIGTERM)
    # A call that came too late was refused, or found no connection any more.
    answers = await asyncio.gather(*calls, return_exceptions=True)
    framed = [
        answer for answer in answers if isinstance(answer, httpx.Response) and answer.is_success
    ]
    last = [FrameDecoder().feed(answer.content)[-1] for answer in framed]
    handed_back = [frame for frame in last if isinstance(frame, ErrorFrame)]
    codes = {(frame.status, frame.error["code"]) for frame in handed_back}
    assert (503, "handed_back") in codes
    assert (await worker.ended())[0] == 0
