"""A worker's way to its GPUs: leased before torch is imported, and shown to CUDA alone.

Owns the order (which GPUs there are, which and how many are needed, the lease, the variable) and
what is said while it waits. While all are taken a worker is a standby: it waits, with its model
fetched, and goes on when another one ends. Nothing is leased where CUDA_VISIBLE_DEVICES is set, on
other devices, and where NVML tells of no GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from services.worker.gpus.driver import has_driver, torch_build, why_no_cuda
from services.worker.gpus.need import choose_gpus
from services.worker.gpus.nvml import Gpu, Nvml, NvmlFault
from services.worker.lifecycle import Opener
from services.worker.models.acquire import acquire
from services.worker.models.references import parse_reference
from services.worker.served_model import ServedModel
from shared.errors import ConfigurationError, GpuLost, LLMZooError
from shared.progress import ProgressCallback
from shared.registry import GpuLease
from shared.settings import WorkerSettings, show_gpus, visible_gpus

log = structlog.get_logger(__name__)

_ASKS = "asks Redis for a GPU; CUDA_VISIBLE_DEVICES would choose one without asking"


class Waits(Protocol):
    """Whoever is told why a worker waits, and whether others have what it waits for."""

    def __call__(self, reason: str, /, *, by_others: bool) -> None:
        """Take note; from any thread."""
        ...


class GpuClaim:
    """Opens a model on GPUs that are this worker's own."""

    def __init__(self, settings: WorkerSettings, lease: GpuLease, nvml: Nvml) -> None:
        """Ask for nothing yet.

        Args:
            settings: the model and the number of GPUs.
            lease: asked for when the model is opened.
            nvml: tells which GPUs there are.
        """
        self._settings = settings
        self._lease = lease
        self._nvml = nvml
        self._said = ""
        lease.waits = self._note_taken
        lease.lost = self._note_lost
        self.asked: Callable[[], None] = lambda: None
        """Called when something is to be had of the next beat."""
        self.waits: Waits = _ignore
        """Told why the worker waits; empty once it does not any more."""
        self.failed: Callable[[LLMZooError], None] = lambda _fault: None
        """Told of a lease that is another worker's; from any thread, as all of these."""

    def opening(self, opener: Opener) -> Opener:
        """Return an opener that has its GPUs first; it blocks as long as there are none."""

        def open_model(settings: WorkerSettings, report: ProgressCallback) -> ServedModel:
            self._secure(report)
            served = opener(settings, report)
            if served.probe is None and self._lease.gpus:
                log.warning("gpus_not_used", reason=why_no_cuda(self._nvml))
                self._lease.drop()
                self.asked()
            return served

        return open_model

    def _secure(self, report: ProgressCallback) -> None:
        """Lease what is needed and show it to CUDA.

        Raises:
            ConfigurationError: CUDA is asked for and cannot be had, or more GPUs than there are.
            ModelLoadError: the model cannot be had.
        """
        gpus = self._listed()
        if not gpus:
            return
        folder = acquire(parse_reference(self._settings.model), self._settings, report)
        fit, count = choose_gpus(folder, self._settings, gpus)
        # Others may compute there beside the zoo.
        fit.sort(key=lambda gpu: gpu.free, reverse=True)
        self._say(_ASKS)
        self._lease.ask(self._places(fit), count)
        self.asked()
        leased = self._lease.wait()
        show_gpus(leased)
        self._say("")
        log.info("gpus_leased", gpus=leased, of=len(gpus))

    def _listed(self) -> list[Gpu]:
        """Return the GPUs of which some are to be leased."""
        device = self._settings.device
        if device not in {"auto", "cuda"}:
            return []
        build = torch_build()
        if device == "cuda" and (build == "cpu" or (build == "cuda" and not has_driver())):
            raise ConfigurationError(
                f"LLMZOO_DEVICE is 'cuda', but {why_no_cuda(self._nvml)}", param="device"
            )
        if build != "cuda" or visible_gpus() is not None:
            return []
        try:
            return self._nvml.gpus()
        except NvmlFault as fault:
            tell = log.warning if fault.gone or device == "cuda" else log.info
            tell("gpus_not_leased", reason=str(fault))
            return []

    def _places(self, gpus: Sequence[Gpu]) -> list[tuple[str, int]]:
        """Return all places; each GPU gets its first worker before one gets a second."""
        return [(gpu.uuid, place) for place in range(self._settings.gpu_share) for gpu in gpus]

    def _note_taken(self, workers: list[str]) -> None:
        leased_to = ", ".join(sorted(set(workers)))
        self._say(
            f"waits for a GPU to come free; leased to {leased_to}; LLMZOO_GPU_SHARE lets workers "
            "share one",
            by_others=True,
        )

    def _note_lost(self, gpu: str, worker: str) -> None:
        self.failed(
            GpuLost(f"{gpu} is leased to {worker}, which had it before this worker, which ends.")
        )

    def _say(self, reason: str, *, by_others: bool = False) -> None:
        if reason != self._said:
            self._said = reason
            if reason:
                log.info("gpu_wait", reason=reason)
            self.waits(reason, by_others=by_others)


def _ignore(_reason: str, *, by_others: bool) -> None:
    del by_others
