"""A minute without Redis under load: `make test-long`, since it takes that long."""

from __future__ import annotations

import pytest

from tests.fakes.redis_outages import serves_through
from tests.fakes.worker_app import FakeWorker, answer

pytestmark = pytest.mark.redis

SECONDS = 60.0


@pytest.mark.parametrize("outage", ["killed", "frozen"])
async def test_a_minute_without_redis_costs_no_request(
    redis_server, start_controller, announce, outage
):
    beats = {"heartbeat_interval": 1, "heartbeat_ttl": 4}
    controller = await start_controller(**beats)
    for n in range(2):
        await announce(FakeWorker(answer("fine"), name=f"worker-{n}"), **beats)
    await controller.sees("worker-0", "worker-1")

    await serves_through(outage, redis_server, controller, SECONDS)
