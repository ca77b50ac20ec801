"""NVIDIA's library as a file of JSON describes it: the part of `pynvml` that we call.

The file is read anew with each `nvmlInit`, so that a test can take a GPU away from a process that
runs:

    {"gpus": [{"uuid": "GPU-a", "memory": 24, "used": 1, "use": 50, "celsius": 61}], "fault": null}

Memory is in GiB. A GPU whose `instances` are listed is divided (MIG). `fault` is the number with
which `nvmlInit` fails, `fault_later` the one of all that is asked of a GPU; `hangs` never returns.
"""
# ruff: noqa: N802 - names of NVIDIA's library

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

GIB = 2**30
UNKNOWN, NOT_SUPPORTED, NOT_FOUND, NOT_LOADED, VERSION_MISMATCH = 999, 3, 6, 9, 18
_UNINITIALIZED = 1


class NVMLError(Exception):
    def __init__(self, value: int) -> None:
        super().__init__(value)
        self.value = value

    def __str__(self) -> str:
        return "Unknown Error" if self.value == UNKNOWN else f"error {self.value}"


@dataclass
class Handle:
    told: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        """A number that is not told is one that this GPU does not support."""
        if name not in self.told:
            raise NVMLError(NOT_SUPPORTED)
        return self.told[name]


class FakeNvml:
    NVMLError = NVMLError
    NVML_TEMPERATURE_GPU = 0

    def __init__(self, file: Path) -> None:
        self._file = file
        self._state: dict[str, Any] | None = None

    def nvmlInit(self) -> None:
        state = json.loads(self._file.read_text())
        if state.get("hangs"):
            threading.Event().wait()
        if state.get("fault"):
            raise NVMLError(state["fault"])
        assert self._state is None, "opened twice"
        self._state = state

    def nvmlShutdown(self) -> None:
        self._state = None

    def nvmlSystemGetDriverVersion(self) -> str:
        return "550.54.14"

    def nvmlSystemGetCudaDriverVersion(self) -> int:
        return 12040

    def nvmlDeviceGetCount(self) -> int:
        return len(self._open()["gpus"])

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Handle:
        return Handle(self._open()["gpus"][index])

    def nvmlDeviceGetUUID(self, handle: Handle) -> str:
        return handle["uuid"]

    def nvmlDeviceGetName(self, _handle: Handle) -> str:
        return "Fake GPU"

    def nvmlDeviceGetMemoryInfo(self, handle: Handle) -> SimpleNamespace:
        fault = self._open().get("fault_later")
        if fault:
            raise NVMLError(fault)
        total, used = int(handle["memory"] * GIB), int(handle.told.get("used", 0) * GIB)
        return SimpleNamespace(total=total, used=used, free=total - used)

    def nvmlDeviceGetUtilizationRates(self, handle: Handle) -> SimpleNamespace:
        return SimpleNamespace(gpu=handle["use"], memory=0)

    def nvmlDeviceGetTemperature(self, handle: Handle, _sensor: int) -> int:
        return handle["celsius"]

    def nvmlDeviceGetMigMode(self, handle: Handle) -> list[int]:
        return [1, 1] if handle["instances"] else [0, 0]

    def nvmlDeviceGetMaxMigDeviceCount(self, _handle: Handle) -> int:
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle: Handle, index: int) -> Handle:
        if index >= len(handle["instances"]):
            raise NVMLError(NOT_FOUND)
        return Handle(handle["instances"][index])

    def _open(self) -> dict[str, Any]:
        if self._state is None:
            raise NVMLError(_UNINITIALIZED)
        return self._state
