"""Containers die and restart under load; no request notices."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import orjson
import pytest

from tests.compose.figures import note
from tests.fakes.event_log import DONE, EventLog
from tests.fakes.scrape import sample
from tests.fakes.waiting import block_until, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.compose.stack import Stack

STREAMS, TOKENS = 8, 96


class Load:
    """Streams that all run at once, each kept as its client got it."""

    def __init__(self, stack: Stack) -> None:
        self._http = httpx.AsyncClient(
            base_url=stack.api,
            headers={"authorization": f"Bearer {stack.key()}"},
            timeout=120,
            trust_env=False,
        )
        self.logs = [EventLog() for _ in range(STREAMS)]

    async def disturbed(self, disturb: Any) -> None:
        """Run all streams, and `disturb` once each of them has begun."""
        async with self._http:
            streams = [asyncio.create_task(self._stream(i, log)) for i, log in enumerate(self.logs)]
            await eventually(lambda: all(len(log.events) > 3 for log in self.logs), 60)
            assert not any(stream.done() for stream in streams), "too late to disturb"
            await asyncio.to_thread(disturb)
            await asyncio.gather(*streams)

    async def _stream(self, number: int, log: EventLog) -> None:
        body = {
            "model": "demo",
            "messages": [{"role": "user", "content": f"Tell me a long story. Number {number}."}],
            "max_tokens": TOKENS,
            "ignore_eos": True,
            "logprobs": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        async with self._http.stream("POST", "/v1/chat/completions", json=body) as response:
            assert response.status_code == 200, await response.aread()
            async for piece in response.aiter_raw():
                log.feed(piece, time.monotonic())


def tokens_of(log: EventLog) -> tuple[int, int]:
    """Return how many tokens came, and how many there should be; whole, in order, once each."""
    *events, last = log.events
    assert last.data == DONE, last
    chunks = [orjson.loads(event.data) for event in events]
    parts = [part for chunk in chunks for part in chunk["choices"]]
    assert [part["finish_reason"] for part in parts if part["finish_reason"]] == ["length"]
    came = [entry for part in parts if part["logprobs"] for entry in part["logprobs"]["content"]]
    text = "".join(part["delta"].get("content") or "" for part in parts)
    told = b"".join(bytes(entry["bytes"] or []) for entry in came)  # none: a control token
    assert told.decode(errors="replace") == text
    (usage,) = [chunk["usage"] for chunk in chunks if chunk["usage"]]
    return len(came), usage["completion_tokens"]


@pytest.fixture
def two_workers(stack: Stack) -> Iterator[list[dict[str, Any]]]:
    stack.up("--scale", "worker=2", "worker")
    stack.wait_until_healthy(60, "worker")
    yield stack.containers("worker")
    stack.compose("rm", "-f", "worker")  # one that was stopped
    stack.up("--scale", "worker=1", "worker")
    stack.wait_until_healthy(60, "worker")


def test_a_worker_killed_under_streams_loses_no_token(
    stack: Stack, two_workers: list[dict[str, Any]], client: httpx.Client
) -> None:
    def moved() -> float:
        return sample(client.get("/metrics").text, "llmzoo_migrations_total")

    def kill() -> None:
        told = client.get("/admin/requests").json()["data"]
        homes = [entry["worker"] for entry in told]
        busiest = max(set(homes), key=homes.count)
        # A worker's address is its container's name in the network: the beginning of its id.
        address = next(
            entry["address"]
            for entry in client.get("/admin/workers").json()["data"]
            if entry["id"] == busiest
        )
        (victim,) = [each for each in two_workers if f"//{each['Id'][:12]}:" in address]
        killed.append(victim)
        # The service itself: the process whose parent is the container's init.
        for process in children(victim["State"]["Pid"]):
            os.kill(process, signal.SIGKILL)

    killed: list[dict[str, Any]] = []
    before = moved()
    load = Load(stack)
    asyncio.run(load.disturbed(kill))
    assert [tokens_of(log) for log in load.logs] == [(TOKENS, TOKENS)] * STREAMS
    assert moved() > before
    note(
        "longest silence of a stream whose worker was killed",
        max(log.longest_gap() for log in load.logs),
    )

    def back() -> bool:
        container = next(c for c in stack.containers("worker") if c["Id"] == killed[0]["Id"])
        return container["RestartCount"] == killed[0]["RestartCount"] + 1

    began = time.monotonic()
    block_until(back, 30)
    stack.wait_until_healthy(60, "worker")
    note("a killed worker's container healthy again after", time.monotonic() - began)


def children(pid: int) -> list[int]:
    """Return the processes that the container's init started, seen from the host."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_redis_restarts_and_no_request_fails(stack: Stack) -> None:
    load = Load(stack)
    asyncio.run(load.disturbed(lambda: stack.compose("restart", "redis")))
    assert [tokens_of(log) for log in load.logs] == [(TOKENS, TOKENS)] * STREAMS
    stack.wait_until_healthy(60)


def test_requests_go_on_while_redis_restarts(stack: Stack, client: httpx.Client) -> None:
    """New ones too, one after the other, before, meanwhile and after."""
    codes: list[int] = []
    body = {"model": "demo", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}

    async def ask(done: asyncio.Event) -> None:
        async with httpx.AsyncClient(
            base_url=stack.api, headers=client.headers, timeout=60, trust_env=False
        ) as http:
            while not done.is_set():
                codes.append((await http.post("/v1/chat/completions", json=body)).status_code)

    async def run() -> None:
        done = asyncio.Event()
        asking = [asyncio.create_task(ask(done)) for _ in range(4)]
        await asyncio.to_thread(stack.compose, "restart", "redis")
        await asyncio.to_thread(stack.wait_until_healthy, 60)
        done.set()
        await asyncio.gather(*asking)

    asyncio.run(run())
    assert set(codes) == {200}
    assert len(codes) > 8


def test_a_stopped_worker_drains(stack: Stack, two_workers: list[dict[str, Any]]) -> None:
    load = Load(stack)
    asyncio.run(load.disturbed(lambda: stack.docker("stop", "-t", "60", two_workers[0]["Id"])))
    assert [tokens_of(log) for log in load.logs] == [(TOKENS, TOKENS)] * STREAMS
