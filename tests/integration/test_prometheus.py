"""Prometheus itself, with the configuration that we ship, finds the fleet through the controller."""

from __future__ import annotations

import asyncio
import shutil
import socket
from pathlib import Path

import httpx
import pytest

from tests.fakes.command_line import PROJECT
from tests.fakes.waiting import eventually
from tests.fakes.worker_app import FakeWorker, answer

pytestmark = [pytest.mark.redis, pytest.mark.usefixtures("redis_server")]

KEY = "a-key-for-metrics"


def configuration(controller, folder: Path) -> Path:
    """Return the shipped file with this controller's address, a key's file, and short times."""
    key = folder / "api_key"
    key.write_text(KEY)
    text = (PROJECT / "deploy/prometheus/prometheus.yml").read_text()
    for old, new in {
        "controller:8000": f"127.0.0.1:{controller.port}",
        "/etc/prometheus/api_key": str(key),
        "scrape_interval: 5s": "scrape_interval: 200ms",
        "refresh_interval: 15s": "refresh_interval: 1s",
    }.items():
        assert old in text
        text = text.replace(old, new)
    path = folder / "prometheus.yml"
    path.write_text(text)
    return path


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="Prometheus is not installed")
async def test_prometheus_scrapes_the_fleet_with_its_key(start_controller, announce, tmp_path):
    controller = await start_controller(api_keys=[KEY])
    controller.client.headers["authorization"] = f"Bearer {KEY}"
    await announce(FakeWorker(answer("fine")))
    await controller.sees("worker-1")
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"127.0.0.1:{free.getsockname()[1]}"
    process = await asyncio.create_subprocess_exec(
        "prometheus",
        f"--config.file={configuration(controller, tmp_path)}",
        f"--storage.tsdb.path={tmp_path}/data",
        f"--web.listen-address={url}",
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://{url}", trust_env=False) as client:

            async def found() -> bool:
                try:
                    told = (await client.get("/api/v1/targets")).json()["data"]["activeTargets"]
                except (httpx.TransportError, ValueError):
                    return False
                by_service = {each["labels"]["service"]: each for each in told}
                # The fake worker measures nothing; the controller lets nobody in without a key.
                return by_service.keys() == {"controller", "worker"} and (
                    by_service["controller"]["health"] == "up"
                    and by_service["worker"]["labels"]["worker"] == "worker-1"
                )

            await eventually(found, 30)
    finally:
        process.terminate()
        await process.wait()
