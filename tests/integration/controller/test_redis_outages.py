"""Redis killed, frozen, emptied, and behind a dead link: serving goes on and heals in a beat."""

from __future__ import annotations

import asyncio
import time
from urllib.parse import urlsplit

import pytest
import redis

from shared.registry import RegistryUnreachable, RegistryView
from shared.registry.view import DEAF_SECONDS
from shared.settings import FleetSettings
from tests.fakes.chat_request import BODY, CHAT
from tests.fakes.redis_outages import OUTAGES, serves_through
from tests.fakes.swallowing_proxy import SwallowingProxy
from tests.fakes.waiting import eventually
from tests.fakes.worker_app import FakeWorker, answer
from tests.integration.conftest import BEAT_SECONDS, TTL_SECONDS, fleet_settings

pytestmark = pytest.mark.redis

SLOW = {"heartbeat_interval": 30, "heartbeat_ttl": 90}
"""Beats so slow that only a hint, or a snapshot for another reason, tells of anything."""


@pytest.mark.parametrize("outage", OUTAGES)
async def test_an_outage_under_load_costs_no_request_and_no_time(
    redis_server, start_controller, announce, outage
):
    controller = await start_controller()
    for n in range(2):
        await announce(FakeWorker(answer("fine"), name=f"worker-{n}"))
    await controller.sees("worker-0", "worker-1")

    # Long enough for everybody to expire, were it not frozen.
    await serves_through(outage, redis_server, controller, 2 * TTL_SECONDS)


async def test_flushed_data_cost_no_request(redis_server, start_controller, announce):
    controller = await start_controller()
    await announce(FakeWorker(answer("fine")))
    await controller.sees("worker-1")

    # A hint that it is new must not be taken for one that it withdrew.
    await asyncio.sleep(5 * BEAT_SECONDS)

    with redis.Redis.from_url(redis_server.url) as client:
        for _ in range(20):
            client.flushall()
            for _ in range(4):
                response = await controller.client.post(CHAT, json=BODY)
                assert response.status_code == 200
                await asyncio.sleep(BEAT_SECONDS / 2)


async def test_a_frozen_server_is_noticed_by_the_subscription(redis_server):
    view = RegistryView(FleetSettings(**fleet_settings(redis_server.url)))
    try:
        async with view.watch() as hints:
            redis_server.freeze()
            began = time.monotonic()
            with pytest.raises(RegistryUnreachable, match="silent"):
                await anext(hints)
            assert DEAF_SECONDS < time.monotonic() - began < 2 * DEAF_SECONDS
    finally:
        redis_server.thaw()
        await view.close()


async def test_a_quiet_subscription_lives_on(redis_server):
    view = RegistryView(FleetSettings(**fleet_settings(redis_server.url)))
    try:
        async with view.watch() as hints:
            waiting = asyncio.ensure_future(anext(hints))
            await asyncio.wait({waiting}, timeout=DEAF_SECONDS + 1.5)
            assert not waiting.done()
            with redis.Redis.from_url(redis_server.url) as client:
                client.publish("llmzoo:changes", "somebody")
            assert await waiting == "somebody"
    finally:
        await view.close()


async def test_a_dead_link_is_noticed_and_hints_come_again(
    redis_server, start_controller, announce
):
    proxy = await SwallowingProxy(urlsplit(redis_server.url).path).start()
    try:
        controller = await start_controller(redis_url=proxy.url, **SLOW)
        await announce(FakeWorker(answer("fine"), name="worker-1"), **SLOW)
        await controller.sees("worker-1")
        proxy.swallow()
        # Its hint is lost; only the new subscription's snapshot can tell of it.
        await announce(FakeWorker(answer("fine"), name="worker-2"), **SLOW)
        await controller.sees("worker-1", "worker-2")

        began = time.monotonic()
        await announce(FakeWorker(answer("fine"), name="worker-3"), **SLOW)
        await controller.sees("worker-1", "worker-2", "worker-3")
        assert time.monotonic() - began < 2

        async def reachable():
            return (await controller.stats())["registry"]["reachable"]

        await eventually(reachable)
    finally:
        await proxy.stop()
