"""Keeps the roster up to date from the registry.

Owns when a snapshot is taken: about every beat, with jitter, and at once after a hint. Knows
nothing of what a record says.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncGenerator, Callable

import structlog

from services.controller.background import end_all
from services.controller.fleet.roster import Roster
from shared.registry import RegistryUnreachable, RegistryView
from shared.settings import FleetSettings

log = structlog.get_logger(__name__)

JITTER = 0.2
# Many workers that change at once cost a few snapshots, not one each.
SHORTEST_PAUSE = 0.05
# What could not be asked is asked again soon, however slow the beats are.
RETRY_SECONDS = 1.0
# A controller that knows nobody would refuse what it could have served a moment later.
FIRST_LOOK_SECONDS = 2.0


class RosterWatcher:
    """Feeds one roster for as long as the service runs."""

    def __init__(
        self,
        view: RegistryView,
        roster: Roster,
        settings: FleetSettings,
        changed: Callable[[], None],
    ) -> None:
        """Prepare; `run` starts it. `changed` is called after each snapshot."""
        self._view = view
        self._roster = roster
        self._tell_change = changed
        self._interval = settings.heartbeat_interval
        self._hinted = asyncio.Event()
        self._asked = asyncio.Event()
        self._changed: set[str] = set()
        self._reachable: bool | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def alive(self) -> bool:
        """Return whether snapshots are being taken."""
        return bool(self._tasks) and not any(task.done() for task in self._tasks)

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncGenerator[None]:
        """Watch for the time of the context, which begins once the registry was asked.

        A registry that does not answer holds it up for `FIRST_LOOK_SECONDS` at most.
        """
        self._tasks = [
            asyncio.create_task(self._take_snapshots(), name="roster-snapshots"),
            asyncio.create_task(self._take_hints(), name="roster-hints"),
        ]
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FIRST_LOOK_SECONDS):
                    await self._asked.wait()
            yield
        finally:
            await end_all(set(self._tasks))

    async def _take_snapshots(self) -> None:
        while True:
            changed, self._changed = self._changed, set()
            try:
                snapshot = await self._view.snapshot()
            except RegistryUnreachable as fault:
                self._roster.lose_registry()
                self._tell(reachable=False, fault=str(fault))
                self._asked.set()
                await self._pause(min(self._interval, RETRY_SECONDS))
            else:
                self._roster.apply(snapshot, changed, time.monotonic())
                self._tell_change()
                self._tell(reachable=True)
                self._asked.set()
                await self._pause(self._interval)

    async def _pause(self, seconds: float) -> None:
        await asyncio.sleep(SHORTEST_PAUSE)
        spread = random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - no secret
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds * spread):
                await self._hinted.wait()
        self._hinted.clear()

    async def _take_hints(self) -> None:
        while True:
            with contextlib.suppress(RegistryUnreachable):
                async with self._view.watch() as hints:
                    # What happened before the subscription was hinted at to nobody.
                    self._hinted.set()
                    async for service_id in hints:
                        self._changed.add(service_id)
                        self._hinted.set()
            await asyncio.sleep(min(self._interval, RETRY_SECONDS))

    def _tell(self, *, reachable: bool, fault: str = "") -> None:
        """Log a change of the registry's reachability once."""
        if reachable == self._reachable:
            return
        self._reachable = reachable
        if reachable:
            log.info("registry read")
        else:
            log.warning("registry unreachable, going on with the last roster", fault=fault)
