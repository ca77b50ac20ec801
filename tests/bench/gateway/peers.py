"""The peers; peers.md, one folder up, tells how each is installed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.bench.gateway.gateways import KEY, MODEL, Gateway
from tests.bench.gateway.processes import ChildProcess, Upstream, free_port


class Peer(Gateway):
    """A gateway in an environment of its own, whose Python this is."""

    def __init__(self, folder: Path, python: Path) -> None:
        super().__init__(folder)
        self._python = python


class SGLangRouter(Peer):
    """sglang-router, with the policy that it recommends."""

    name = "sglang-router"

    def launch(self, upstream: Upstream, stub_options: list[str]) -> None:
        del stub_options
        urls = [f"http://127.0.0.1:{port}" for port in upstream.ports]
        self._launch(
            "router",
            *(self._python, "-m", "sglang_router.launch_router"),
            *("--host", "127.0.0.1", "--port", self.port, "--worker-urls", *urls),
            *("--policy", "cache_aware", "--api-key", KEY),
            *("--prometheus-port", free_port(), "--log-level", "error"),
        )


class LiteLLM(Peer):
    """LiteLLM's proxy: one process, a master key, no database."""

    name = "litellm"
    health = "/health/liveliness"

    def launch(self, upstream: Upstream, stub_options: list[str]) -> None:
        del stub_options
        models = [
            {
                "model_name": MODEL,
                "litellm_params": {
                    "model": f"openai/{MODEL}",
                    "api_base": f"http://127.0.0.1:{port}/v1",
                    "api_key": "none",
                },
            }
            for port in upstream.ports
        ]
        config = self.folder / "config.yaml"
        # JSON is YAML.
        config.write_text(
            json.dumps(
                {
                    "model_list": models,
                    "general_settings": {"master_key": KEY},
                    "litellm_settings": {"callbacks": ["prometheus"]},
                }
            )
        )
        self._launch(
            "proxy",
            *(self._python.parent / "litellm", "--config", config, "--host", "127.0.0.1"),
            *("--port", self.port, "--num_workers", 1),
            LITELLM_LOCAL_MODEL_COST_MAP="True",
            LITELLM_MODE="PRODUCTION",
            LITELLM_LOG="ERROR",
        )


class FastChat(Peer):
    """FastChat's controller and API server, before a worker of its own protocol."""

    name = "fastchat"
    works_with_mock = False

    def launch(self, upstream: Upstream, stub_options: list[str]) -> None:
        del upstream
        controller = free_port()
        address = f"http://127.0.0.1:{controller}"
        self._launch(
            "controller",
            *(self._python, "-m", "fastchat.serve.controller"),
            *("--host", "127.0.0.1", "--port", controller),
        )
        self._launch(
            "api",
            *(self._python, "-m", "fastchat.serve.openai_api_server"),
            *("--host", "127.0.0.1", "--port", self.port),
            *("--controller-address", address, "--api-keys", KEY),
        )
        self._worker = ChildProcess(
            "worker",
            [
                *(sys.executable, "-m", "tests.bench.gateway.fastchat_worker"),
                *("--controller", address, *stub_options),
            ],
            self.folder,
        )

    def stop(self) -> None:
        self._worker.stop()
        super().stop()


PEERS: dict[str, type[Peer]] = {peer.name: peer for peer in (SGLangRouter, LiteLLM, FastChat)}
