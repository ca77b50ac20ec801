"""The web UI as a process of its own, started the way a user starts it."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from shared.settings import child_environment

START_SECONDS = 90.0


class WebuiProcess:
    """`python -m services.webui` on a free port; no Redis, which it must bear."""

    def __init__(self, controller_url: str, folder: Path, **environment: str) -> None:
        self.log_dir = folder / "conversations"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self._output = (folder / "webui.log").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "services.webui"],
            env=child_environment(
                {
                    "LLMZOO_BASE_URL": controller_url,
                    "LLMZOO_WEBUI_PORT": str(port),
                    "LLMZOO_LOG_DIR": str(self.log_dir),
                    "LLMZOO_REDIS_URL": f"unix://{folder}/no-redis.sock",
                    **environment,
                }
            ),
            stderr=self._output,
        )

    def wait_until_ready(self) -> WebuiProcess:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            assert self.process.poll() is None, "the web UI ended at its start"
            try:
                if self.get("/health/ready").is_success:
                    return self
            except httpx.TransportError:
                time.sleep(0.05)
        msg = f"the web UI was not ready within {START_SECONDS} s"
        raise TimeoutError(msg)

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, timeout=30, trust_env=False)

    def metric(self, name: str, **labels: str) -> float:
        return sum(
            sample.value
            for family in text_string_to_metric_families(self.get("/metrics").text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def lines(self) -> list[dict[str, Any]]:
        """Return the conversation log."""
        return [
            json.loads(line)
            for path in sorted(self.log_dir.glob("*-conv.json"))
            for line in path.read_text().splitlines()
        ]

    def terminate(self, seconds: float = 30.0) -> int:
        """Send SIGTERM and return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._output.close()
