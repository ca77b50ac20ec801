"""An external server and a controller that serves its models."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.endpoints_file import write_endpoints
from tests.fakes.external_server import ExternalServer
from tests.fakes.running_controller import RunningController

KEY = "sk-of-the-endpoint"


@pytest.fixture
async def external() -> AsyncIterator[ExternalServer]:
    server = await ExternalServer().start()
    yield server
    await server.stop()


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "ext.key"
    path.write_text(f"{KEY}\n")
    return path


Serving = Callable[..., Awaitable[RunningController]]


@pytest.fixture
def serving(
    external: ExternalServer, start_controller: Any, tmp_path: Path, key_file: Path
) -> Serving:
    """A function that starts a controller with the endpoint `ext`; its arguments are fields."""

    async def start(**fields: Any) -> RunningController:
        fields = {
            "name": "ext",
            "base_url": f"http://127.0.0.1:{external.port}",
            "key_file": key_file.name,
            "models": ["big"],
            **fields,
        }
        return await start_controller(endpoints_file=write_endpoints(tmp_path, fields))

    return start


@pytest.fixture
async def controller(serving: Serving) -> RunningController:
    return await serving()
