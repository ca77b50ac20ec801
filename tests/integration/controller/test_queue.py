"""What waits in the controller: who is next, who is refused, and that nothing stays behind."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter

import httpx
import pytest

from shared.protocol.prefix_chain import chain_of, pack
from shared.protocol.sse import DONE
from shared.protocol.workers import Load, State
from tests.fakes.chat_request import BODY, CHAT, STREAM
from tests.fakes.waiting import eventually
from tests.fakes.worker_app import (
    Cut,
    FakeWorker,
    Refusal,
    Silence,
    TokensFrame,
    answer,
    chunk,
    end,
    start,
    steps,
    tokens,
    unary_body,
)

pytestmark = [pytest.mark.redis, pytest.mark.usefixtures("redis_server")]

PLACES = 4
AT_ONCE = 6
"""Of interactive requests: the worker's places and what may wait in it."""

BATCH = {"x-llmzoo-priority": "batch"}


class Gated(FakeWorker):
    """Answers nobody before the gate opens, or the request's own."""

    def __init__(self, name="worker-1"):
        self.gate = asyncio.Event()
        self.gates = []
        super().__init__(self._frames, name=name)
        self.load = Load(max_num_seqs=PLACES)

    def _frames(self, _):
        self.gates.append(self.gate if self.gate.is_set() else asyncio.Event())
        return [
            start(),
            TokensFrame(1, 0, (101,), b""),
            self.gates[-1],
            end(1, unary_body(["ok"])),
        ]

    def open(self):
        self.gate.set()
        for gate in self.gates:
            gate.set()


@pytest.fixture
async def controller(start_controller):
    return await start_controller(queue_timeout=20)


@pytest.fixture
async def gated(controller, announce):
    worker = Gated()
    await announce(worker)
    await controller.sees(worker.name)
    return worker


def ask(controller, number=0, headers=None, **body):
    messages = [{"role": "user", "content": str(number)}]
    request = controller.client.post(
        CHAT, json={**BODY, "messages": messages, **body}, headers=headers
    )
    return asyncio.create_task(request)


def numbers(worker):
    return [int(asked.json["messages"][0]["content"]) for asked in worker.asked]


async def depth(controller, count, priority="interactive"):
    async def waiting():
        return await controller.metric("llmzoo_queue_depth", priority=priority) == count

    await eventually(waiting)


async def test_a_worker_gets_what_it_runs_and_a_little_more_the_rest_waits_here(controller, gated):
    asks = [ask(controller, n) for n in range(20)]
    await gated.until(lambda: gated.running == AT_ONCE)
    await depth(controller, 20 - AT_ONCE)
    gated.open()

    answers = await asyncio.gather(*asks)

    assert {a.status_code for a in answers} == {200}
    assert sorted(numbers(gated)) == list(range(20))
    assert await controller.metric("llmzoo_queue_wait_seconds_count") == 20 - AT_ONCE
    await depth(controller, 0)
    await controller.idle()


async def test_interactive_requests_pass_batch_ones_that_wait(controller, gated):
    first = [ask(controller, n, BATCH) for n in range(5)]
    await gated.until(lambda: gated.running == 5)
    batch = [ask(controller, 100 + n, BATCH) for n in range(5)]
    await depth(controller, 5, "batch")
    # One place in the worker is kept for what must not wait.
    now = ask(controller, 50)
    await gated.until(lambda: gated.running == 6)
    later = ask(controller, 51)
    await depth(controller, 1)
    gated.gates[0].set()
    await gated.until(lambda: len(gated.asked) == 7)
    assert numbers(gated)[5:] == [50, 51]
    # Batch work may not have the last place, and waits until two have come free.
    gated.gates[1].set()
    gated.gates[2].set()
    await gated.until(lambda: len(gated.asked) == 8)
    assert numbers(gated)[7] == 100
    assert gated.running == 5
    gated.open()
    await asyncio.gather(*first, *batch, now, later)
    assert all(asked.headers["x-llmzoo-priority"] == "batch" for asked in gated.asked[:5])


async def test_a_full_queue_is_429_with_retry_after_at_once(start_controller, announce):
    controller = await start_controller(max_queued=3)
    gated = Gated()
    await announce(gated)
    await controller.sees(gated.name)
    asks = [ask(controller, n) for n in range(AT_ONCE + 3)]
    await depth(controller, 3)

    began = time.monotonic()
    refused = await ask(controller, 99)
    took = time.monotonic() - began

    assert refused.status_code == 429
    assert refused.json()["error"]["type"] == "rate_limit_error"
    assert int(refused.headers["retry-after"]) >= 1
    assert took < 0.5
    assert await controller.metric("llmzoo_rejections_total", reason="queue_full") == 1
    # An interactive request takes the place of a batch one.
    gated.open()
    assert {a.status_code for a in await asyncio.gather(*asks)} == {200}
    await controller.idle()


async def test_who_waits_too_long_gets_429(start_controller, announce):
    controller = await start_controller(queue_timeout=0.2)
    gated = Gated()
    await announce(gated)
    await controller.sees(gated.name)
    held = [ask(controller, n) for n in range(AT_ONCE)]
    await gated.until(lambda: gated.running == AT_ONCE)

    late = await ask(controller)

    assert late.status_code == 429
    assert late.headers["retry-after"]
    assert await controller.metric("llmzoo_rejections_total", reason="queue_timeout") == 1
    await depth(controller, 0)
    gated.open()
    await asyncio.gather(*held)
    assert len(gated.asked) == AT_ONCE


async def test_who_leaves_the_queue_is_sent_nowhere(controller, gated):
    held = [ask(controller, n) for n in range(AT_ONCE)]
    await gated.until(lambda: gated.running == AT_ONCE)
    gone = [ask(controller, 50 + n) for n in range(5)]
    await depth(controller, 5)
    for each in gone:
        each.cancel()
    await depth(controller, 0)
    gated.open()
    await asyncio.gather(*held)

    assert numbers(gated) == sorted(range(AT_ONCE), key=numbers(gated).index)
    assert await controller.metric("llmzoo_cancellations_total", phase="waiting") == 5
    await controller.idle()


async def test_a_worker_that_joins_takes_those_who_wait(controller, gated, announce):
    asks = [ask(controller, n) for n in range(AT_ONCE + 3)]
    await depth(controller, 3)
    other = Gated("worker-2")
    other.open()
    await announce(other)

    await other.until(lambda: len(other.asked) == 3)
    gated.open()
    assert {a.status_code for a in await asyncio.gather(*asks)} == {200}


async def test_when_the_last_worker_goes_those_who_wait_get_503(start_controller, announce):
    controller = await start_controller()
    gated = Gated()
    announcement = await announce(gated)
    await controller.sees(gated.name)
    asks = [ask(controller, n) for n in range(AT_ONCE + 2)]
    await depth(controller, 2)
    await announcement.withdraw()
    await depth(controller, 0)
    gated.open()

    answers = await asyncio.gather(*asks)

    assert Counter(a.status_code for a in answers) == {200: AT_ONCE, 503: 2}
    assert all(a.headers["retry-after"] for a in answers if a.status_code == 503)
    await controller.idle()


async def test_a_request_waits_for_a_model_that_is_being_loaded(start_controller, announce):
    controller = await start_controller(cold_start_timeout=10)
    worker = FakeWorker(answer("fine"))
    worker.state, worker.progress = State.LOADING, 0.4
    announcement = await announce(worker)
    await controller.sees(worker.name, state="loading")
    early = ask(controller)
    await depth(controller, 1)
    worker.state = State.READY
    announcement.heartbeat.poke()

    assert (await early).status_code == 200


@pytest.mark.parametrize("seconds", [0, 0.2])
async def test_but_not_for_longer_than_it_may(start_controller, announce, seconds):
    controller = await start_controller(cold_start_timeout=seconds)
    worker = FakeWorker(answer("fine"))
    worker.state, worker.progress = State.LOADING, 0.4
    await announce(worker)
    await controller.sees(worker.name, state="loading")

    refused = await ask(controller)

    assert refused.status_code == 503
    assert "40%" in refused.json()["error"]["message"]
    assert refused.headers["retry-after"]
    assert not worker.asked


async def test_a_deadline_ends_a_request_in_the_queue(controller, gated):
    held = [ask(controller, n) for n in range(AT_ONCE)]
    await gated.until(lambda: gated.running == AT_ONCE)

    late = await ask(controller, headers={"x-request-timeout": "0.2"})

    assert late.status_code == 504
    assert late.json()["error"]["code"] == "deadline_exceeded"
    await depth(controller, 0)
    gated.open()
    await asyncio.gather(*held)
    assert len(gated.asked) == AT_ONCE


async def test_a_deadline_ends_an_answer_on_its_worker(controller, gated):
    late = await ask(controller, headers={"x-request-timeout": "0.3"})

    assert late.status_code == 504
    assert late.json()["error"]["code"] == "deadline_exceeded"
    await gated.until(lambda: len(gated.aborted) == 1)
    await controller.idle()
    # The worker is not to blame: it is asked again.
    gated.open()
    assert (await ask(controller)).status_code == 200
    assert await controller.metric("llmzoo_router_retries_total", reason="upstream_timeout") == 0


async def test_a_deadline_ends_a_stream_with_one_error_event(controller, announce):
    worker = FakeWorker(steps(start(), tokens(1, "a"), Silence()))
    await announce(worker)
    await controller.sees(worker.name)

    response = await controller.client.post(CHAT, json=STREAM, headers={"x-request-timeout": "0.3"})

    assert response.status_code == 200
    assert response.content.startswith(chunk("a"))
    assert b"deadline_exceeded" in response.content
    assert DONE not in response.content
    await worker.until(lambda: len(worker.aborted) == 1)


@pytest.mark.parametrize("value", ["0", "-1", "soon", "nan", "1e9"])
async def test_a_deadline_that_is_none_is_400(controller, gated, value):
    refused = await ask(controller, headers={"x-request-timeout": value})
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "x-request-timeout"
    assert not gated.asked


async def test_a_worker_that_fails_again_and_again_is_left_alone_and_then_probed(
    controller, announce
):
    bad, good = FakeWorker(steps(Cut()), name="bad"), FakeWorker(answer("fine"), name="good")
    good.load = Load(max_num_seqs=4, running=3)
    for worker in (bad, good):
        await announce(worker)
    await controller.sees("bad", "good")

    for n in range(20):
        assert (await ask(controller, n)).status_code == 200
    # A reset on a connection used before is tried once more.
    asked_while_closed = len(bad.asked)
    assert 5 <= asked_while_closed <= 10
    assert await controller.metric("llmzoo_worker_breaker_state", worker="bad") == 2

    bad.script = answer("well again")
    await eventually(lambda: _answered(controller, b"well again"))
    assert await controller.metric("llmzoo_worker_breaker_state", worker="bad") == 0


async def _answered(controller, text):
    return text in (await ask(controller)).content


async def test_refusals_open_no_breaker(controller, announce):
    worker = FakeWorker(steps(Refusal(400)))
    await announce(worker)
    await controller.sees(worker.name)
    for status in (400, 404, 422, 429, 503):
        worker.script = steps(Refusal(status))
        for _ in range(8):
            assert (await ask(controller)).status_code == status
    worker.script = answer("fine")
    assert (await ask(controller)).status_code == 200


async def test_when_all_workers_have_failed_it_is_503_and_then_they_are_tried(controller, announce):
    worker = FakeWorker(steps(Refusal(500)))
    await announce(worker)
    await controller.sees(worker.name)
    statuses = [(await ask(controller)).status_code for _ in range(7)]
    assert statuses == [502] * 5 + [503] * 2

    worker.script = answer("fine")
    await eventually(lambda: _answered(controller, b"fine"))


async def test_nothing_is_left_of_requests_that_end_anyhow(start_controller, announce):
    controller = await start_controller(upstream_timeout=0.3, queue_timeout=5)
    rng = random.Random(5)
    workers = [FakeWorker(_moody(rng), name=f"worker-{n}") for n in range(3)]
    for worker in workers:
        worker.load = Load(max_num_seqs=2)
        await announce(worker)
    await controller.sees(*(worker.name for worker in workers))

    async def one(n):
        body = STREAM if n % 2 else BODY
        headers = BATCH if n % 3 == 0 else {}
        with_deadline = {"x-request-timeout": "0.05"} if n % 5 == 0 else {}
        task = asyncio.create_task(
            controller.client.post(CHAT, json=body, headers={**headers, **with_deadline})
        )
        if n % 4 == 0:
            await asyncio.sleep(rng.random() * 0.05)
            task.cancel()
        try:
            return (await task).status_code
        except (asyncio.CancelledError, httpx.HTTPError):
            return 0

    statuses = Counter(await asyncio.gather(*(one(n) for n in range(400))))

    assert statuses[200] > 50
    assert set(statuses) <= {0, 200, 429, 502, 503, 504}
    await controller.idle()
    await depth(controller, 0)
    await depth(controller, 0, "batch")


def _moody(rng):
    good, slow = answer("a", "b"), asyncio.Event()

    def script(asked):
        mood = rng.random()
        if mood < 0.75:
            return good(asked)
        if mood < 0.85:
            return [start(), tokens(1, "a"), Cut()]
        return [Refusal(rng.choice([429, 500, 503]))] if mood < 0.95 else [start(), slow]

    return script


async def test_a_request_waits_for_the_full_worker_that_holds_its_beginning(
    start_controller, announce
):
    long = [{"role": "user", "content": "a long beginning " * 6000}]
    holder, other = Gated("holder"), Gated("other")
    holder.prefixes = pack(chain_of({"messages": long}))
    for worker in (holder, other):
        await announce(worker)
    controller = await start_controller()
    await controller.sees("holder", "other")
    held = [ask(controller, messages=long) for _ in range(AT_ONCE)]
    await holder.until(lambda: holder.running == AT_ONCE)

    waits = ask(controller, messages=[*long, *long])
    await depth(controller, 1)
    goes = ask(controller, 17)
    await other.until(lambda: len(other.asked) == 1)
    assert numbers(other) == [17]
    holder.open()
    other.open()
    await asyncio.gather(*held, waits, goes)

    assert len(holder.asked) == AT_ONCE + 1


@pytest.mark.parametrize("policy", ["least_cost", "shortest_queue", "power_of_two"])
async def test_idle_workers_take_turns(start_controller, announce, policy):
    workers = [FakeWorker(answer("x"), name=f"worker-{n}") for n in range(2)]
    # So slow that none owes a beat where the machine stands still for a moment.
    beats = {"heartbeat_interval": 1.0, "heartbeat_ttl": 4.0}
    for worker in workers:
        await announce(worker, **beats)
    controller = await start_controller(routing_policy=policy, **beats)
    await controller.sees("worker-0", "worker-1")
    for n in range(40):
        await ask(controller, n)
    assert [len(worker.asked) for worker in workers] == [20, 20]
