"""Mock workers of one process, each with a heartbeat of its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Protocol

from prometheus_client import CollectorRegistry

from shared.protocol.workers import ServiceRecord
from shared.registry import Heartbeat, HeartbeatMetrics
from shared.settings import FleetSettings
from tests.fakes.waiting import eventually


class Announced(Protocol):
    """What a fleet is made of: a mock worker, or a stub."""

    draining: bool

    @property
    def idle(self) -> bool: ...

    async def start(self) -> object: ...

    async def stop(self) -> None: ...

    def hand_back(self) -> None: ...

    def record(self) -> ServiceRecord: ...


class MockFleet:
    """Starts its workers and announces them; without a registry it only starts them.

    `settings` are those of the registry; its internal token signs the records, the workers ask
    for the one that they were given.
    """

    def __init__(self, workers: Sequence[Announced], settings: FleetSettings | None) -> None:
        self.workers = workers
        self._settings = settings
        self._heartbeats: list[Heartbeat] = []

    async def start(self) -> MockFleet:
        for worker in self.workers:
            await worker.start()
        if self._settings is not None:
            self.announce()
        return self

    def announce(self) -> None:
        """Begin the heartbeats of workers that are started already."""
        assert self._settings is not None
        for worker in self.workers:
            metrics = HeartbeatMetrics(CollectorRegistry())
            self._heartbeats.append(Heartbeat(self._settings, worker.record, metrics))
            self._heartbeats[-1].start()

    async def drain(self, seconds: float) -> None:
        """Take no more requests, say so, and let those under way finish, for at most so long.

        What is left then is handed back.
        """
        for worker in self.workers:
            worker.draining = True
        for beat in self._heartbeats:
            beat.poke()
        with contextlib.suppress(TimeoutError):
            await eventually(lambda: all(worker.idle for worker in self.workers), seconds)
        for worker in self.workers:
            worker.hand_back()

    async def stop(self) -> None:
        """Withdraw every worker and close it."""
        await asyncio.gather(*(asyncio.to_thread(beat.stop) for beat in self._heartbeats))
        for worker in self.workers:
            await worker.stop()
