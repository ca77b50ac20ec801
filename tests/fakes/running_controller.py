"""A controller on a real socket in the test's event loop."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from services.controller.app import create_app
from shared.settings import ControllerSettings
from tests.fakes.running_service import RunningService
from tests.fakes.waiting import eventually


class RunningController(RunningService):
    """Its fleet is what the settings' registry says."""

    def __init__(self, settings: ControllerSettings) -> None:
        super().__init__(lambda url: create_app(settings, url), 20_000)

    def paths(self) -> Iterator[tuple[str, str]]:
        """Yield method and path of every route, the hot ones beside FastAPI's."""
        app: Any = self.service.app
        while not hasattr(app, "hot"):
            app = getattr(app, "_app", None) or app.app
        for path in app.hot:
            yield "POST", path
        routers = [app.app]
        while routers:
            for route in routers.pop().routes:
                if hasattr(route, "original_router"):
                    routers.append(route.original_router)
                    continue
                for method in route.methods:
                    yield method, re.sub(r"{(\w+)(:path)?}", r"\1", route.path)

    async def stats(self) -> dict[str, Any]:
        return (await self.client.get("/v1/stats")).json()

    async def sees(self, *names: str, state: str = "ready") -> None:
        """Wait until these services, and no other workers, are in the roster in this state."""

        async def seen() -> bool:
            services = (await self.stats())["services"]
            return {s["id"] for s in services if s["kind"] == "worker"} == set(names) and all(
                s["state"] == state for s in services if s["kind"] == "worker"
            )

        await eventually(seen)

    async def idle(self) -> None:
        """Wait until no request is under way, by the gauge and by the count of each worker."""

        async def nothing() -> bool:
            services = (await self.stats())["services"]
            counts = [s["inflight"] for s in services]
            return not any(counts) and await self.metric("llmzoo_inflight_requests") == 0

        await eventually(nothing)
