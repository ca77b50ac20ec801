"""Whether the devices that a model is on still compute.

Owns the smallest piece of work. How often it is asked for, and what follows, is the watch's.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

from services.worker.engine.out_of_memory import is_out_of_memory
from shared.errors import GpuLost


class DeviceProbe:
    """One number on each device; it is there from the start, so that no memory is asked for."""

    def __init__(self, devices: Iterable[torch.device]) -> None:
        """Put a number on each device."""
        self._numbers = [torch.zeros(1, device=device) for device in devices]

    def __call__(self) -> None:
        """Let each device count, and wait for it; on any thread.

        Raises:
            GpuLost: one raises a fault.
        """
        for number in self._numbers:
            try:
                number.fill_(1).item()
            except RuntimeError as fault:  # CUDA's, whichever it is
                if not is_out_of_memory(fault):
                    raise GpuLost(f"{number.device}: {fault}") from fault


def probe_of(model: torch.nn.Module) -> DeviceProbe | None:
    """Return the probe of the GPUs that a model lies on, None where it lies on none."""
    tensors = [*model.parameters(), *model.buffers()]
    devices = dict.fromkeys(tensor.device for tensor in tensors if tensor.is_cuda)
    return DeviceProbe(devices) if devices else None
