"""Prometheus itself, with the configuration that we ship, finds the fleet through the controller."""

from __future__ import annotations

import pytest

from tests.fakes.prometheus_process import PrometheusProcess, needs_prometheus
from tests.fakes.waiting import eventually
from tests.fakes.worker_app import FakeWorker, answer

pytestmark = [pytest.mark.redis, pytest.mark.usefixtures("redis_server"), needs_prometheus]

KEY = "a-key-for-metrics"


async def test_prometheus_scrapes_the_fleet_with_its_key(start_controller, announce, tmp_path):
    controller = await start_controller(api_keys=[KEY])
    controller.client.headers["authorization"] = f"Bearer {KEY}"
    await announce(FakeWorker(answer("fine")))
    await controller.sees("worker-1")
    async with PrometheusProcess(tmp_path, f"127.0.0.1:{controller.port}", KEY) as prometheus:

        async def found() -> bool:
            fleet = [each for each in await prometheus.targets() if "service" in each["labels"]]
            by_service = {each["labels"]["service"]: each for each in fleet}
            # The fake worker measures nothing; the controller lets nobody in without a key.
            return by_service.keys() == {"controller", "worker"} and (
                by_service["controller"]["health"] == "up"
                and by_service["worker"]["labels"]["worker"] == "worker-1"
            )

        await eventually(found, 30)
