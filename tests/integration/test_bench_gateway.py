"""The gateway's benchmark: its load generator counts what happens, its report tells it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from tests.bench.gateway.bench import Row
from tests.bench.gateway.load import Generator, figures
from tests.bench.gateway.processes import run_load
from tests.bench.gateway.report import lines
from tests.fakes.mock.faults import Fault
from tests.fakes.mock.scheduler import Costs
from tests.fakes.mock.stub import Wheel
from tests.fakes.mock.stub_worker import OpenAIReplies, StubWorker
from tests.fakes.mock.worker import MockSettings, MockWorker
from tests.fakes.waiting import eventually

CHAT = "/v1/chat/completions"
CHUNKS, GAP = 20, 0.01


def plan(port: int, kind: str, **more):
    common = {"targets": [["127.0.0.1", port]], "path": CHAT, "headers": {}, "streamed": True}
    return {**common, "kind": kind, "bodies": [body()], "connections": 3, "requests": 12, **more}


def body(**changes) -> str:
    asked = {"model": "mock", "messages": [{"role": "user", "content": "one"}], "max_tokens": 9}
    return json.dumps({**asked, "stream": True, **changes})


@pytest.fixture
async def stub() -> AsyncIterator[StubWorker]:
    worker = await StubWorker(OpenAIReplies("mock", CHUNKS), Wheel(GAP), model="mock").start()
    yield worker
    await worker.stop()


@pytest.fixture
async def mock() -> AsyncIterator[MockWorker]:
    worker = await MockWorker(MockSettings(costs=Costs(max_num_seqs=2, max_waiting=1))).start()
    yield worker
    await worker.stop()


async def test_streams_have_as_many_chunks_and_gaps_as_the_stub_sends(stub):
    load = await run_load(plan(stub.port, "streams"))
    assert load["codes"] == {"200": 12}
    # The role, each chunk, the finish reason and [DONE].
    assert load["pieces"] == 12 * (CHUNKS + 3)
    assert load["itl_ms"]["mean"] >= 500 * GAP
    assert load["latency_ms"]["p50"] > load["ttft_ms"]["p50"] > 0


async def test_arrivals_keep_their_rate_and_each_is_timed(stub):
    load = await run_load(plan(stub.port, "open", rate=200.0, bodies=[body(stream=False)]))
    assert load["completed"] == 12
    assert load["latency_ms"]["p99"] >= load["latency_ms"]["p50"] > 0


async def test_rejects_and_broken_answers_are_counted_apart(mock):
    load = Generator(plan(mock.port, "closed", connections=12))
    await load.closed()
    counted = figures(load.samples, 1.0, 0.1)["codes"]
    assert set(counted) == {"200", "429"}
    assert counted["200"] >= 3
    await mock.set_fault(Fault.parse("break:2"))
    broken = Generator(plan(mock.port, "closed", connections=1, requests=2))
    await broken.closed()
    assert figures(broken.samples, 1.0, 0.1)["codes"] == {"0": 2}


async def test_silence_is_a_timeout(mock):
    await mock.set_fault(Fault.parse("mute"))
    load = Generator(plan(mock.port, "closed", connections=2, requests=2, timeout=0.1))
    await load.closed()
    assert figures(load.samples, 1.0, 0.1)["codes"] == {"-1": 2}


async def test_who_leaves_is_timed_and_gives_the_place_back(mock):
    bodies = [
        body(max_tokens=3000, messages=[{"role": "user", "content": f"m{i}"}]) for i in (0, 1)
    ]
    load = await run_load(
        plan(mock.port, "leave", bodies=bodies, requests=2, pause=0.0, after=[0.1, 0.1])
    )
    assert load["codes"] == {"-2": 2}
    await eventually(lambda: mock.engine.answers == 0)
    freed = dict(mock.engine.released)
    for number in range(2):
        assert 0 <= freed[f"m{number}"] - load["left"][str(number)] < 1


async def test_every_reading_is_told_and_what_misses_its_floor():
    rows = [
        Row("unary", "llmzoo", {"cpu_us": 50.0}, "none"),
        Row("unary", "llmzoo", {"cpu_us": 52.0}, "429: 3"),
        Row("unary", "sglang-router", {"cpu_us": 30.0}, "none"),
        Row("start", "llmzoo", {"seconds": 0.7}, "none"),
    ]
    told = list(lines(rows))
    unary = next(line for line in told if line.startswith("llmzoo"))
    assert unary.split() == ["llmzoo", "51", "1", "429:", "3"]
    assert any(line.startswith("sglang-router") and "1.7" in line for line in told)
    floors = [line.split()[-1] for line in told if "≤" in line]
    assert floors == ["MISSED", "ambition"]


async def test_an_idle_stub_says_nothing_that_a_client_counts():
    worker = StubWorker(OpenAIReplies("mock", 5, idle=True), Wheel(GAP), model="mock")
    await worker.start()
    load = Generator(plan(worker.port, "closed", connections=1, requests=1, timeout=0.2))
    await load.closed()
    (sample,) = load.samples
    assert (sample.code, sample.pieces) == (-1, 1)
    await worker.stop()
    await asyncio.sleep(0)
