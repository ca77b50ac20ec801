"""What is measured: nothing in between, LLM Zoo's controller, and the peers. One key, metrics on.

Each is started before workers that run already, and is ready when a request was answered.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import httpx

from tests.bench.gateway.processes import ROOT, ChildProcess, Redis, Upstream, free_port

MODEL = "mock"
KEY = "sk-bench"
TOKEN = "a token between services"
CHAT = "/v1/chat/completions"
_READY_SECONDS = 60.0
_POLL_SECONDS = 0.01


def chat(content: str, *, stream: bool = False, max_tokens: int = 50) -> str:
    """Return a request's body."""
    return json.dumps(
        {
            "model": MODEL,
            "messages": [{"role": "user", "content": content}],
            "max_tokens": max_tokens,
            "stream": stream,
        }
    )


class Gateway(ABC):
    """One row of the tables."""

    name: str
    health = "/health"
    works_with_mock = True
    """Whether its workers are OpenAI servers; FastChat's are not."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.folder = folder / self.name
        self.folder.mkdir(exist_ok=True)
        self.processes: list[ChildProcess] = []
        self.start_seconds = 0.0

    @property
    def targets(self) -> list[tuple[str, int]]:
        return [("127.0.0.1", self.port)]

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {KEY}"}

    @abstractmethod
    def launch(self, upstream: Upstream, stub_options: list[str]) -> None:
        """Start the processes."""

    async def start(self, upstream: Upstream, stub_options: list[str]) -> None:
        """Launch it and wait until it serves."""
        started = time.monotonic()
        self.launch(upstream, stub_options)
        await self._serving()
        self.start_seconds = time.monotonic() - started

    def check(self) -> None:
        """Say so, if one of its processes has ended by itself."""
        for process in self.processes:
            if not process.running:
                code = process.popen.returncode
                print(f"{self.name} ended with {code}\n{self._logs()}", file=sys.stderr)

    def stop(self) -> None:
        for process in reversed(self.processes):
            process.stop()
        self.processes.clear()

    def cpu_seconds(self) -> float:
        return sum(process.cpu_seconds() for process in self.processes)

    def memory(self) -> int:
        return sum(process.memory() for process in self.processes)

    def plan(self, kind: str, path: str = CHAT, **more: Any) -> dict[str, Any]:
        """Return a plan of the load generator's with this gateway as its target."""
        return {
            "kind": kind,
            "targets": self.targets,
            "path": path,
            "headers": self.headers,
            **more,
        }

    def _launch(self, name: str, *command: object, **environment: str) -> None:
        arguments = [str(part) for part in command]
        self.processes.append(ChildProcess(name, arguments, self.folder, environment))

    async def _serving(self) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        (host, port), *_ = self.targets
        async with httpx.AsyncClient(headers=self.headers, trust_env=False) as client:
            while time.monotonic() < deadline:
                if not all(process.running for process in self.processes):
                    break
                try:
                    url = f"http://{host}:{port}{CHAT}"
                    asked = chat("ready?", max_tokens=1)
                    kind = {"content-type": "application/json"}
                    answer = await client.post(url, content=asked, headers=kind, timeout=5)
                    if answer.is_success:
                        return
                except httpx.TransportError:
                    pass
                await asyncio.sleep(_POLL_SECONDS)
        sys.exit(f"{self.name} does not serve\n{self._logs()}")

    def _logs(self) -> str:
        logs = self.folder.glob("*.log")
        return "\n".join(f"{log.name}:\n{log.read_text()[-2000:]}" for log in logs)


class Direct(Gateway):
    """The workers themselves, in turns."""

    name = "direct"

    def launch(self, upstream: Upstream, stub_options: list[str]) -> None:
        del stub_options
        self._ports = upstream.ports

    @property
    def targets(self) -> list[tuple[str, int]]:
        return [("127.0.0.1", port) for port in self._ports]


class Zoo(Gateway):
    """Our controller, with a Redis of its own that the workers are announced in."""

    name = "llmzoo"
    health = "/health/ready"
    module = "services.controller"

    def __init__(self, folder: Path, redis: Redis) -> None:
        super().__init__(folder)
        self._redis = redis

    def launch(self, upstream: Upstream, stub_options: list[str]) -> None:
        del upstream, stub_options
        self._launch(
            "controller",
            *(sys.executable, "-m", self.module),
            LLMZOO_REDIS_URL=self._redis.url,
            LLMZOO_INTERNAL_TOKEN=TOKEN,
            LLMZOO_API_KEYS=KEY,
            LLMZOO_CONTROLLER_PORT=str(self.port),
            LLMZOO_LOG_LEVEL="warning",
            PYTHONPATH=str(ROOT),
        )


class Ledgerless(Zoo):
    """The same, which keeps no account of what it passes on."""

    name = "without ledger"
    module = "tests.bench.gateway.without_ledger"
