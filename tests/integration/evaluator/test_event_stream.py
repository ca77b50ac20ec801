"""A run's events over a real socket: replayed, live, ended, and left again."""

from __future__ import annotations

import asyncio
import contextlib

import httpx
import pytest

from services.evaluator.jobs.events import MAX_READERS
from shared.registry import keys
from tests.fakes.evaluation_api import EvaluationApi
from tests.fakes.spec_readers import eval_body
from tests.fakes.waiting import eventually

pytestmark = pytest.mark.redis


@pytest.fixture
async def api(redis_server):
    running = await EvaluationApi(redis_server.url).listening()
    yield running
    await running.stop()


@pytest.fixture
async def path(api):
    eval_path = await api.created(eval_body())
    made = await api.client.post(f"{eval_path}/runs", json={"candidates": ["alpha"]})
    return made.headers["location"]


async def tell(api, path, number):
    name = keys.evaluation_run_part(path.rsplit("/", 1)[1], "events")
    fields = {"event": "progress", "data": b'{"n": %d}' % number}
    return (await api.redis.xadd(name, fields)).decode()


@contextlib.asynccontextmanager
async def following(api, path, query="", **headers):
    """Follow a run; yields the answer and its lines."""
    async with api.client.stream("GET", f"{path}/events{query}", headers=headers) as answer:
        yield answer, answer.aiter_lines()


async def next_event(lines):
    """Return the fields of the next event."""
    found = {}
    async with asyncio.timeout(5):
        async for line in lines:
            if not line and found:
                return found
            name, _, value = line.partition(": ")
            if name:
                found[name] = value
    return found


def readers(api):
    return api.store._events._readers


async def test_events_are_replayed_then_live_and_end(api, path):
    first = await tell(api, path, 1)
    async with following(api, path) as (answer, lines):
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        event = await next_event(lines)
        while event["id"] != first:
            event = await next_event(lines)
        assert event == {"id": first, "event": "progress", "data": '{"n":1}'}
        second = await tell(api, path, 2)
        assert (await next_event(lines))["id"] == second
        await api.client.post(f"{path}/cancel")
        told = await next_event(lines)
        while told and told["event"] != "done":
            told = await next_event(lines)
        assert told["event"] == "done"
        assert await next_event(lines) == {}
    await eventually(lambda: readers(api) == 0)


async def test_a_reader_who_comes_again_misses_nothing(api, path):
    ids = [await tell(api, path, number) for number in range(3)]
    ways = [({"Last-Event-ID": ids[0]}, ""), ({}, f"?last_event_id={ids[0]}")]
    for headers, query in ways:
        async with following(api, path, query, **headers) as (_, lines):
            assert [(await next_event(lines))["id"] for _ in range(2)] == ids[1:]
    bad = await api.client.get(f"{path}/events", headers={"last-event-id": "x"})
    assert (bad.status_code, bad.json()["error"]["param"]) == (400, "Last-Event-ID")


async def test_who_leaves_frees_the_place(api, path):
    await tell(api, path, 1)
    async with following(api, path) as (_, lines):
        await next_event(lines)
        assert readers(api) == 1
    await eventually(lambda: readers(api) == 0)


async def test_readers_are_bounded(api, path):
    await tell(api, path, 1)
    kept = []
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(MAX_READERS):
            kept.append(await stack.enter_async_context(following(api, path)))
            await next_event(kept[-1][1])
        refused = await api.client.get(f"{path}/events")
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
    await eventually(lambda: readers(api) == 0)
    async with following(api, path) as (answer, lines):
        assert answer.status_code == 200
        await next_event(lines)


async def test_a_quiet_run_is_heard_of(api, path):
    api.store._events._heartbeat = 0.05
    async with following(api, path) as (_, lines):
        async with asyncio.timeout(5):
            async for line in lines:
                if line.startswith(":"):
                    break
    await eventually(lambda: readers(api) == 0)


async def test_when_redis_goes_the_stream_ends_and_begins_again(api, path, redis_server):
    await tell(api, path, 1)
    async with following(api, path) as (_, lines):
        await next_event(lines)
        redis_server.kill()
        with contextlib.suppress(httpx.RemoteProtocolError):
            while await next_event(lines):
                pass
    await eventually(lambda: readers(api) == 0)


async def test_a_run_that_is_not_there(api, path):
    response = await api.client.get(f"{path}x/events")
    assert response.status_code == 404
