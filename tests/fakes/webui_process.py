"""The web UI as a process of its own, started the way a user starts it."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

from shared.settings import child_environment
from tests.fakes.scrape import sample
from tests.fakes.waiting import block_until

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
        block_until(self._ready, START_SECONDS)
        return self

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, timeout=30, trust_env=False)

    def metric(self, name: str, **labels: str) -> float:
        return sample(self.get("/metrics").text, name, **labels)

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

    def _ready(self) -> bool:
        assert self.process.poll() is None, "the web UI ended at its start"
        with contextlib.suppress(httpx.TransportError):
            return self.get("/health/ready").is_success
        return False
