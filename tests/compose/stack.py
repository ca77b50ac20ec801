"""The compose file, run for real under a project name of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import orjson

PROJECT = Path(__file__).parents[2]
NAME = "llmzoo-check"
SERVICES = ("controller", "worker", "webui", "evaluator", "redis", "prometheus", "grafana")
_PORTS = ("LLMZOO_CONTROLLER_PORT", "LLMZOO_WEBUI_PORT", "GRAFANA_PORT")


class Stack:
    """`docker compose` with free ports and without the user's own `.env`."""

    def __init__(self) -> None:
        with contextlib.ExitStack() as held:
            sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in _PORTS]
            ports = {
                name: str(free.getsockname()[1]) for name, free in zip(_PORTS, sockets, strict=True)
            }
        self.environment = {
            **os.environ,
            **ports,
            "COMPOSE_PROJECT_NAME": NAME,
            "COMPOSE_ENV_FILES": os.devnull,
            "LLMZOO_TAG": "check",
        }
        self.api = f"http://127.0.0.1:{ports['LLMZOO_CONTROLLER_PORT']}"
        self.webui = f"http://127.0.0.1:{ports['LLMZOO_WEBUI_PORT']}"
        self.first_answer_seconds = 0.0
        self.grafana = f"http://127.0.0.1:{ports['GRAFANA_PORT']}"

    def build(self) -> None:
        """Build the images, in the lab where no engine of this machine's own answers."""
        lab = self._lab()
        if lab is None:
            self.compose("build")
        else:
            self._shown(lab, "images")
            self._shown(lab, "build")

    def up(self, *arguments: str) -> None:
        """Start what does not run."""
        self.compose("up", "-d", "--no-build", *arguments)

    def down(self) -> None:
        """Stop and forget everything, volumes too."""
        self.compose("down", "-v", "--remove-orphans", "-t", "20")

    def compose(self, *arguments: str) -> None:
        """Run a command whose output is the log's."""
        self._shown("docker", "compose", *arguments)

    def docker(self, *arguments: str) -> None:
        """Run a command of `docker` itself."""
        self._shown("docker", *arguments)

    def asked(self, *arguments: str, given: str = "") -> str:
        """Return what a command of `docker compose` prints."""
        return self._output("docker", "compose", *arguments, given=given)

    def executed(self, service: str, *command: str, given: str = "") -> str:
        """Return what a command inside a service's container prints."""
        return self.asked("exec", "-T", service, *command, given=given)

    def refused(self, *arguments: str) -> str:
        """Return what a command of `docker compose` prints that must fail."""
        done = self._run("docker", "compose", *arguments)
        assert done.returncode != 0, done.stdout
        return done.stdout + done.stderr

    def get(self, path: str) -> httpx.Response:
        """Return what the controller answers without a key."""
        return httpx.get(f"{self.api}{path}", trust_env=False)

    def key(self) -> str:
        """Return the key that README's command shows."""
        return self.executed("controller", "llmzoo", "key", "show").strip()

    def containers(self, service: str = "") -> list[dict[str, Any]]:
        """Return `docker inspect` of the containers, those that ended too."""
        ids = self.asked("ps", "-a", "-q", *([service] if service else [])).split()
        return orjson.loads(self._output("docker", "inspect", *ids))

    def inspect_image(self, image: str) -> dict[str, Any]:
        """Return `docker image inspect` of one image."""
        return orjson.loads(self._output("docker", "image", "inspect", image))[0]

    def wait_until_healthy(self, seconds: float, *services: str) -> float:
        """Return how long it took until all containers of the services were healthy."""
        began = time.monotonic()
        while sick := self._sick(services or SERVICES):
            assert time.monotonic() - began < seconds, f"not healthy: {sick}"
            time.sleep(0.2)
        return time.monotonic() - began

    def _sick(self, services: tuple[str, ...]) -> dict[str, str]:
        states = {
            f"{service}: {container['Name']}": container["State"]
            .get("Health", {})
            .get("Status", "")
            for service in services
            for container in self.containers(service)
        }
        return {name: state for name, state in states.items() if state != "healthy"}

    def _lab(self) -> str | None:
        named = os.environ.get("LLMZOO_CONTAINER_LAB")
        if named is None:
            assert _engine_answers(), "no Docker engine answers; LLMZOO_CONTAINER_LAB names a lab"
            return None
        lab = Path(named).resolve()
        lab = lab / "lab" if lab.is_dir() else lab
        self._shown(str(lab), "start")
        return str(lab)

    def _shown(self, *command: str) -> None:
        subprocess.run(command, cwd=PROJECT, env=self.environment, stdout=sys.stderr, check=True)

    def _run(self, *command: str, given: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=PROJECT,
            env=self.environment,
            input=given,
            capture_output=True,
            text=True,
            check=False,
        )

    def _output(self, *command: str, given: str = "") -> str:
        done = self._run(*command, given=given)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout


def _engine_answers() -> bool:
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0
