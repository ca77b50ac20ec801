"""The mock engine is a worker to the controller, an OpenAI server to others, and faulty on order."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import orjson
import pytest

from shared.protocol.frames import (
    EndFrame,
    ErrorFrame,
    FrameDecoder,
    FrameError,
    KeepaliveFrame,
    StartFrame,
    TokensFrame,
)
from shared.protocol.prefix_chain import chain_of, unpack
from shared.protocol.resume import encode_resume
from shared.settings import FleetSettings
from tests.fakes.mock.faults import Fault
from tests.fakes.mock.fleet import MockFleet
from tests.fakes.mock.scheduler import Costs
from tests.fakes.mock.worker import MockSettings, MockWorker
from tests.fakes.running_service import TOKEN
from tests.fakes.waiting import eventually
from tests.integration.conftest import StartController, fleet_settings

QUICK = Costs(step_seconds=0.001, sequence_seconds=0.0)
FRAMES = {"x-llmzoo-frames": "1", "authorization": f"Bearer {TOKEN}"}
CHAT = "/v1/chat/completions"

StartProcess = Callable[..., Awaitable[asyncio.subprocess.Process]]


def body(**changes):
    asked = {"model": "mock", "messages": [{"role": "user", "content": "Say it."}], "max_tokens": 8}
    return {**asked, **changes}


def settings(costs: Costs = QUICK) -> MockSettings:
    return MockSettings(token=TOKEN, costs=costs)


@pytest.fixture
async def mock() -> AsyncIterator[MockWorker]:
    worker = await MockWorker(settings()).start()
    yield worker
    await worker.stop()


@pytest.fixture
async def client(mock: MockWorker) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=mock.address, timeout=10, trust_env=False) as client:
        yield client


async def frames(client: httpx.AsyncClient, asked, path: str = CHAT, **headers: str):
    """Return all frames of one answer."""
    content = asked if isinstance(asked, bytes) else orjson.dumps(asked)
    answer = await client.post(path, content=content, headers={**FRAMES, **headers})
    assert answer.status_code == 200, answer.text
    return list(FrameDecoder().feed(answer.content))


def data(answer) -> list[bytes]:
    """Return the bytes of each of two choices, and those of the end, without events' ids."""
    tokens = [frame for frame in answer if isinstance(frame, TokensFrame)]
    ends = [frame.data for frame in answer if isinstance(frame, EndFrame)]
    told = [b"".join(f.data for f in tokens if f.choice == c) for c in range(2)] + ends
    # They name the worker, and a number is whoever's turn it was.
    return [re.sub(rb"(?m)^id: .*\n", b"", each) for each in told]


async def read(client: httpx.AsyncClient, asked, seen) -> None:
    """Append frames to `seen` until the answer ends, somehow."""
    decoder = FrameDecoder()
    async with client.stream("POST", CHAT, json=asked, headers=FRAMES) as got:
        async for piece in got.aiter_bytes():
            seen += decoder.feed(piece)
            if decoder.fault is not None:
                raise decoder.fault


async def test_frames_carry_what_a_plain_answer_does(client):
    plain = await client.post(CHAT, json=body(n=2))
    framed = await frames(client, body(n=2))
    told = orjson.loads(framed[-1].data)
    assert told["choices"] == plain.json()["choices"]
    assert told["usage"] == plain.json()["usage"]
    assert isinstance(framed[0], StartFrame)
    tokens = [frame for frame in framed if isinstance(frame, TokensFrame)]
    assert [frame.sequence_number for frame in tokens] == list(range(1, 17))
    assert framed[-1].completion_tokens == 16


async def test_a_stream_says_what_a_whole_answer_says(client):
    whole = (await client.post(CHAT, json=body())).json()["choices"][0]["message"]["content"]
    streamed = ""
    async with client.stream("POST", CHAT, json=body(stream=True)) as answer:
        async for line in answer.aiter_lines():
            if line.startswith("data: {"):
                for choice in json.loads(line[6:])["choices"]:
                    streamed += choice["delta"].get("content", "")
    assert streamed == whole


async def test_the_seed_chooses_the_answer(client):
    texts = [
        (await client.post(CHAT, json=body(seed=seed))).json()["choices"][0]["message"]["content"]
        for seed in (1, 2, 1)
    ]
    assert texts[0] == texts[2] != texts[1]


async def test_frames_need_the_internal_token(client):
    answer = await client.post(CHAT, json=body(), headers={"x-llmzoo-frames": "1"})
    assert answer.status_code == 401


@pytest.mark.parametrize("after", [0, 1, 5, 16])
async def test_another_worker_goes_on_byte_for_byte(client, after: int):
    asked = orjson.dumps(body(stream=True, n=2))
    whole = await frames(client, asked)
    tokens = [frame for frame in whole if isinstance(frame, TokensFrame)][:after]
    ids = [[i for f in tokens if f.choice == c for i in f.token_ids] for c in range(2)]
    other = await MockWorker(settings()).start()
    resume = encode_resume(CHAT, asked, whole[0], ids, after, deterministic=True)
    async with httpx.AsyncClient(base_url=other.address, trust_env=False) as elsewhere:
        rest = await frames(elsewhere, resume, "/internal/resume")
    await other.stop()
    begun, gone_on = data(whole[: after + 1]), data(rest)
    assert [begun[0] + gone_on[0], begun[1] + gone_on[1], gone_on[2]] == data(whole)
    assert rest[0] == whole[0]
    assert rest[-1].completion_tokens == 16


async def test_a_second_conversation_turn_hits_the_cache_and_the_record_tells(mock, client):
    long = "x" * 2048
    asked = body(messages=[{"role": "user", "content": long}], max_tokens=100)
    said = (await client.post(CHAT, json=asked)).json()["choices"][0]["message"]["content"]
    turn = [*asked["messages"], {"role": "assistant", "content": said}]
    held = unpack(mock.record().prefixes)
    assert set(chain_of({"messages": turn})) <= held
    await client.post(CHAT, json=body(messages=[*turn, {"role": "user", "content": "And?"}]))
    assert mock.record().load.prefill_tokens_per_second > 1_000
    hits = mock.engine.counts["hit_tokens"]
    assert hits == len(chain_of({"messages": turn})) * 64


async def test_more_than_may_wait_get_a_429_that_says_when():
    busy = await MockWorker(settings(Costs(max_num_seqs=1, max_waiting=1))).start()
    async with httpx.AsyncClient(base_url=busy.address, trust_env=False) as asking:
        answers = await asyncio.gather(*(asking.post(CHAT, json=body()) for _ in range(4)))
    await busy.stop()
    codes = sorted(answer.status_code for answer in answers)
    assert codes == [200, 200, 429, 429]
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.json()["error"]["code"] == "overloaded"


@pytest.mark.parametrize("leave", ["abort", "close"])
async def test_who_leaves_gives_the_place_back(mock, client, leave: str):
    endless = body(max_tokens=30_000, stream=True)
    async with client.stream("POST", CHAT, json=endless, headers={"x-request-id": "one"}) as got:
        await anext(got.aiter_bytes())
        assert mock.engine.load().running == 1
        if leave == "abort":
            done = await client.post("/internal/requests/one/abort", headers=FRAMES)
            assert done.status_code == 204
            assert mock.engine.answers == 0
    await eventually(lambda: mock.engine.answers == 0)
    assert mock.engine.load().kv_tokens_used == 0
    assert mock.engine.counts["aborted" if leave == "abort" else "gone"] == 1


async def test_a_silent_prefill_keeps_the_frames_alive():
    slow = await MockWorker(settings(Costs(prefill_tokens_per_second=1.0))).start()
    seen = []
    async with httpx.AsyncClient(base_url=slow.address, trust_env=False) as asking:
        reading = asyncio.create_task(read(asking, body(), seen))
        await eventually(lambda: len(seen) > 1)
        reading.cancel()
    await slow.stop()
    assert isinstance(seen[1], KeepaliveFrame)


async def test_frames_break_off_after_as_many_as_ordered(mock, client):
    await mock.set_fault(Fault.parse("break:3*1"))
    seen = []
    with pytest.raises(httpx.TransportError):
        await read(client, body(stream=True), seen)
    assert len(seen) == 3
    assert isinstance((await frames(client, body(stream=True)))[-1], EndFrame)


async def test_a_stalled_stream_stays_open_and_a_malformed_one_is_no_frames(mock, client):
    await mock.set_fault(Fault.parse("stall:2"))
    with pytest.raises(httpx.ReadTimeout):
        await client.post(CHAT, json=body(), headers=FRAMES, timeout=0.3)
    await mock.set_fault(Fault.parse("malformed:2"))
    with pytest.raises(FrameError, match="unknown kind"):
        await read(client, body(), [])


async def test_a_worker_refuses_is_mute_loads_and_fails_on_order(mock, client):
    await mock.set_fault(Fault.parse("refuse"))
    with pytest.raises(httpx.ConnectError):
        await client.get("/health/live")
    await mock.set_fault(Fault.parse("mute"))
    with pytest.raises(httpx.ReadTimeout):
        await client.get("/health/live", timeout=0.2)
    await mock.set_fault(Fault.parse("loading"))
    assert (await client.get("/health/ready")).status_code == 503
    assert (await client.post(CHAT, json=body())).status_code == 503
    assert mock.record().state == "loading"
    await client.post("/mock/fault", content="error:507*2")
    answers = [(await client.post(CHAT, json=body())).status_code for _ in range(3)]
    assert answers == [507, 507, 200]


async def test_a_fleet_that_drains_finishes_what_it_has_and_takes_no_more(mock, client):
    asking = asyncio.create_task(client.post(CHAT, json=body(max_tokens=100)))
    await eventually(lambda: not mock.idle)
    draining = asyncio.create_task(MockFleet([mock], None).drain(10.0))
    await eventually(lambda: mock.record().state == "draining")
    assert (await client.post(CHAT, json=body())).status_code == 503
    assert (await asking).json()["usage"]["completion_tokens"] == 100
    await draining
    assert mock.idle


async def test_a_slow_start_is_seen_in_the_record():
    costs = Costs(step_seconds=0.0, sequence_seconds=0.0)
    slow = await MockWorker(MockSettings(costs=costs, slow_start=0.3)).start()
    assert slow.record().state == "loading"
    await eventually(lambda: slow.record().state == "ready")
    await slow.stop()


async def test_an_abort_is_told_in_a_frame(client):
    asking = asyncio.create_task(frames(client, body(max_tokens=30_000), **{"x-request-id": "two"}))
    await eventually(lambda: _aborted(client, asking))
    answer = await asking
    assert isinstance(answer[-1], ErrorFrame)
    assert answer[-1].error["code"] == "aborted"


async def _aborted(client: httpx.AsyncClient, asking: asyncio.Task) -> bool:
    await client.post("/internal/requests/two/abort", headers=FRAMES)
    return asking.done()


async def test_a_controller_serves_from_a_fleet(redis_server, start_controller: StartController):
    workers = [MockWorker(settings(), name=f"mock-{i}") for i in range(2)]
    fleet = MockFleet(workers, FleetSettings(**fleet_settings(redis_server.url)))
    await fleet.start()
    controller = await start_controller()
    await controller.sees("mock-0", "mock-1")
    async with httpx.AsyncClient(base_url=workers[0].address, trust_env=False) as asking:
        direct = await asking.post(CHAT, json=body())
    answers = await asyncio.gather(*(controller.client.post(CHAT, json=body()) for _ in range(8)))
    assert {a.json()["choices"][0]["message"]["content"] for a in answers} == {
        direct.json()["choices"][0]["message"]["content"]
    }
    assert sum(worker.engine.counts["completed"] for worker in workers) == 9
    await controller.idle()
    await fleet.stop()


@pytest.fixture
async def start_process(redis_server) -> AsyncIterator[StartProcess]:
    """A function that starts two workers in a process; its arguments are options."""
    started: list[asyncio.subprocess.Process] = []

    async def start(*options: str) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.fakes.mock_engine", "--ports", "2", "--token", TOKEN),
            *("--redis-url", redis_server.url, "--heartbeat-interval", "0.1", *options),
            stdout=asyncio.subprocess.PIPE,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.parametrize(
    ("name", "options"),
    [("mock", ()), ("stub", ("--stub", "--chunks", "8", "--gap", "0.001"))],
)
async def test_a_process_stands_for_several_workers(
    start_process: StartProcess, start_controller: StartController, name: str, options
):
    process = await start_process(*options)
    assert process.stdout is not None
    ports = json.loads(await process.stdout.readline())["ports"]
    controller = await start_controller()
    await controller.sees(*(f"{name}-{port}" for port in ports))
    whole = await controller.client.post(CHAT, json=body())
    assert whole.json()["usage"]["completion_tokens"] > 0
    streamed = await controller.client.post(CHAT, json=body(stream=True))
    assert streamed.text.count("data: ") >= 10
    assert streamed.text.endswith("data: [DONE]\n\n")
    process.terminate()
    assert await process.wait() == 0
    await controller.sees()
