"""The watch over a worker's GPUs: a worker that has lost them ends, so that it is started again.

A container may lose its GPUs while it runs; an idle engine would not notice, and Docker restarts
what exits, never what is unhealthy. Owns when it is looked and how often in a row nothing must
answer. Looking may hang, so it has a thread of its own, and the heartbeat is none of its business.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import structlog

from services.worker.daemon_thread import in_daemon_thread
from services.worker.gpus.nvml import Nvml, NvmlFault
from shared.errors import GpuLost, LLMZooError
from shared.registry import GpuLease

log = structlog.get_logger(__name__)

Probe = Callable[[], None]
"""Lets the devices of a model compute something; raises GpuLost if they do not."""


class GpuWatch:
    """Looks after the GPUs that are leased, and those that a model is on."""

    def __init__(
        self,
        lease: GpuLease,
        nvml: Nvml,
        probe: Callable[[], Probe | None],
        *,
        every: float,
        patience: int = 3,
        answer_within: float = 10.0,
    ) -> None:
        """Prepare.

        Args:
            lease: names the GPUs.
            nvml: asked about them, if it has ever answered.
            probe: returns the probe of the model that is served, None without one or on a CPU.
            every: seconds between two looks.
            patience: looks in a row that must fail.
            answer_within: seconds that one may take.
        """
        self._lease = lease
        self._nvml = nvml
        self._probe = probe
        self._every = every
        self._patience = patience
        self._answer_within = answer_within
        self._look: asyncio.Task[str] | None = None

    @asynccontextmanager
    async def running(self, failed: Callable[[LLMZooError], None]) -> AsyncGenerator[None]:
        """Look while the context lasts, until they are lost, and tell `failed` then."""
        looking = asyncio.create_task(self._run(failed), name="gpu-watch")
        looking.add_done_callback(_note_crash)
        try:
            yield
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)

    async def _run(self, failed: Callable[[LLMZooError], None]) -> None:
        silent, fault = 0, ""
        while silent < self._patience:
            await asyncio.sleep(self._every)
            fault = await self._looked()
            silent = silent + 1 if fault else 0
            if fault:
                log.warning("gpu_silent", fault=fault, looks=silent)
        failed(GpuLost(f"The worker has lost its GPU and ends, to be started again: {fault}"))

    async def _looked(self) -> str:
        """Return what is wrong; a look that hangs is waited for again, and none begun beside it."""
        if self._look is None:
            self._look = asyncio.create_task(in_daemon_thread(self._find_fault, "gpu-watch"))
        done, _ = await asyncio.wait({self._look}, timeout=self._answer_within)
        if not done:
            return f"no answer within {self._answer_within:g} s"
        look, self._look = self._look, None
        return look.result()

    def _find_fault(self) -> str:
        gpus, probe = self._lease.gpus, self._probe()
        if not gpus and probe is None:
            return ""
        try:
            self._nvml.check(gpus)
        except NvmlFault as fault:
            if fault.gone and self._nvml.answered:
                return str(fault)
        try:
            if probe is not None:
                probe()
        except GpuLost as fault:
            return fault.message
        return ""


def _note_crash(looking: asyncio.Task[None]) -> None:
    """Tell of what no type foresaw; the worker goes on without a watch."""
    fault = None if looking.cancelled() else looking.exception()
    if fault is not None:
        log.error("gpu_watch_crashed", exc_info=fault)
