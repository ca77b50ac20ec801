"""Prometheus itself, with the shipped configuration and rules, made to ask more often."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

from tests.fakes.prometheus_rules import PROMETHEUS
from tests.fakes.waiting import eventually

needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="Prometheus is not installed"
)


class PrometheusProcess:
    """Asks one controller for its targets."""

    def __init__(self, folder: Path, controller: str, key: str, more_jobs: str = "") -> None:
        """Write its configuration; `controller` is host and port, `more_jobs` YAML."""
        self._folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            own = f"127.0.0.1:{free.getsockname()[1]}"
        self._address = own
        (folder / "metrics_key").write_text(key)
        shutil.copytree(PROMETHEUS / "rules", folder / "rules")
        text = (PROMETHEUS / "prometheus.yml").read_text()
        for old, new in {
            "controller:8000": controller,
            "localhost:9090": own,
            "/secrets/metrics_key": str(folder / "metrics_key"),
            "scrape_interval: 5s": "scrape_interval: 250ms",
            "evaluation_interval: 15s": "evaluation_interval: 1s",
            "refresh_interval: 15s": "refresh_interval: 1s",
        }.items():
            assert old in text, old
            text = text.replace(old, new)
        (folder / "prometheus.yml").write_text(text + more_jobs)
        self._client = httpx.AsyncClient(base_url=f"http://{own}/api/v1", trust_env=False)
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            "prometheus",
            f"--config.file={self._folder}/prometheus.yml",
            f"--storage.tsdb.path={self._folder}/data",
            f"--web.listen-address={self._address}",
            stderr=asyncio.subprocess.DEVNULL,
        )
        await eventually(self._ready, 30)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()
        assert self._process is not None
        self._process.terminate()
        await self._process.wait()

    async def targets(self) -> list[dict[str, Any]]:
        """Return what it scrapes, with labels and health."""
        return (await self._get("targets", state="active"))["activeTargets"]

    async def all_up(self, *services: str) -> bool:
        """Return whether these are the fleet's services, and whatever is scraped answers."""
        told = await self.targets()
        there = [each["labels"]["service"] for each in told if "service" in each["labels"]]
        return sorted(there) == sorted(services) and all(each["health"] == "up" for each in told)

    async def query(self, expr: str) -> list[dict[str, Any]]:
        """Return what an expression gives now.

        Raises:
            AssertionError: Prometheus refuses it.
        """
        return (await self._get("query", query=expr))["result"]

    async def rules(self) -> list[dict[str, Any]]:
        """Return all rules with their health."""
        groups = (await self._get("rules"))["groups"]
        return [rule for group in groups for rule in group["rules"]]

    async def _ready(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return (await self._client.get("/status/buildinfo")).is_success
        return False

    async def _get(self, path: str, **asked: str) -> Any:
        response = (
            await self._client.post(f"/{path}", data=asked)
            if path == "query"
            else (await self._client.get(f"/{path}", params=asked))
        )
        assert response.is_success, (asked, response.text)
        return response.json()["data"]
