"""NVIDIA's GPUs as NVML tells of them: which there are, how they do, whether they answer.

Owns the calls into the binding (`nvidia-ml-py`, whose module is called pynvml) and what their
failures mean. Each question opens NVML anew: a container that has lost its GPUs goes on with what
it has open, and only who opens it again finds out. Knows neither torch nor Redis.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

# Of a device that is gone: NO_PERMISSION, NOT_FOUND, DRIVER_NOT_LOADED, GPU_IS_LOST,
# RESET_REQUIRED, OPERATING_SYSTEM (a control group's refusal), GPU_NOT_FOUND, UNKNOWN. Others are
# NVML's own affair: with LIB_RM_VERSION_MISMATCH, after an update of the driver, CUDA goes on.
_NOT_FOUND = 6
_GONE = frozenset({4, _NOT_FOUND, 9, 15, 16, 17, 28, 999})


class NvmlFault(Exception):
    """NVML does not answer; `gone` where that says that its devices do not either."""

    def __init__(self, message: str, *, gone: bool = False) -> None:
        """Keep NVML's own words."""
        super().__init__(message)
        self.gone = gone


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU, or one instance of it (MIG), which CUDA treats as a GPU.

    Attributes:
        index: NVML's number in this container; of an instance `<GPU>:<instance>`.
        uuid: the same everywhere; what `CUDA_VISIBLE_DEVICES` takes.
        name: of the product.
        total: bytes of memory.
        used: of them, by whomever.
        free: of them.
    """

    index: str
    uuid: str
    name: str
    total: int
    used: int
    free: int


@dataclass(frozen=True, slots=True)
class Reading:
    """How a GPU does now; what it does not tell is None."""

    gpu: Gpu
    utilization: float | None
    """Part of the last moments in which it computed, in [0, 1]."""
    celsius: float | None


@dataclass(frozen=True, slots=True)
class Driver:
    """The driver's version, and the newest CUDA that it runs, as `12.4`."""

    version: str
    cuda: str


def _binding() -> Any:
    return importlib.import_module("pynvml")


class Nvml:
    """Asks NVML; each method blocks, as a rule for milliseconds, and where a GPU hangs for ever."""

    def __init__(self, binding: Callable[[], Any] = _binding) -> None:
        """Ask through the module that `binding()` returns."""
        self._binding = binding
        self._lock = threading.Lock()
        self.answered = False
        """Whether it has ever; what it never did is not missed."""

    def gpus(self) -> list[Gpu]:
        """Return the GPUs of this container, by index.

        Raises:
            NvmlFault: there is no binding, driver or permission.
        """
        with self._session() as nvml:
            return [_gpu(nvml, *device) for device in _devices(nvml)]

    def readings(self, uuids: Collection[str]) -> list[Reading]:
        """Return how these GPUs do, as far as they are there; raises as `gpus`."""
        with self._session() as nvml:
            return [_reading(nvml, *device) for device in _devices(nvml) if device[1] in uuids]

    def check(self, uuids: Collection[str]) -> None:
        """Return if these GPUs are there and answer; raises as `gpus`."""
        with self._session() as nvml:
            missing = set(uuids)
            for _, uuid, handle in _devices(nvml):
                if uuid in missing:
                    nvml.nvmlDeviceGetMemoryInfo(handle)
                    missing.discard(uuid)
        if missing:
            raise NvmlFault(f"NVML does not list {', '.join(sorted(missing))}", gone=True)

    def driver(self) -> Driver:
        """Return what the driver is; raises as `gpus`."""
        with self._session() as nvml:
            cuda: int = nvml.nvmlSystemGetCudaDriverVersion()
            return Driver(nvml.nvmlSystemGetDriverVersion(), f"{cuda // 1000}.{cuda % 1000 // 10}")

    @contextmanager
    def _session(self) -> Generator[Any]:
        with self._lock:
            try:
                nvml = self._binding()
            except ImportError as fault:
                raise NvmlFault("nvidia-ml-py is not installed") from fault
            try:
                nvml.nvmlInit()
                try:
                    yield nvml
                finally:
                    nvml.nvmlShutdown()
                self.answered = True
            except nvml.NVMLError as fault:
                gone = getattr(fault, "value", None) in _GONE
                raise NvmlFault(f"NVML: {fault}", gone=gone) from fault


def _devices(nvml: Any) -> Iterator[tuple[str, str, Any]]:
    """Yield index, UUID and handle of each GPU, or of its instances where it is divided."""
    for index in range(nvml.nvmlDeviceGetCount()):
        gpu = nvml.nvmlDeviceGetHandleByIndex(index)
        divided, _ = _optional(nvml, nvml.nvmlDeviceGetMigMode, gpu) or (0, 0)
        if not divided:
            yield str(index), nvml.nvmlDeviceGetUUID(gpu), gpu
            continue
        for number in range(nvml.nvmlDeviceGetMaxMigDeviceCount(gpu)):
            instance = _optional(nvml, nvml.nvmlDeviceGetMigDeviceHandleByIndex, gpu, number)
            if instance is not None:
                yield f"{index}:{number}", nvml.nvmlDeviceGetUUID(instance), instance


def _gpu(nvml: Any, index: str, uuid: str, handle: Any) -> Gpu:
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    name = nvml.nvmlDeviceGetName(handle)
    return Gpu(index, uuid, name, memory.total, memory.used, memory.free)


def _reading(nvml: Any, index: str, uuid: str, handle: Any) -> Reading:
    rates = _optional(nvml, nvml.nvmlDeviceGetUtilizationRates, handle)
    celsius = _optional(nvml, nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU)
    gpu = _gpu(nvml, index, uuid, handle)
    return Reading(gpu, None if rates is None else rates.gpu / 100, celsius)


def _optional(nvml: Any, call: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a call returns that not every GPU knows, None where this one does not."""
    try:
        return call(*arguments)
    except nvml.NVMLError as fault:
        value = getattr(fault, "value", None)
        if value in _GONE and value != _NOT_FOUND:  # an instance that there is not
            raise
        return None
