"""Whether CUDA can be used here, and if not, why and what to do; told without importing torch.

Owns the words of the refusal. Knows no model.
"""

from __future__ import annotations

import ctypes
from importlib import metadata
from typing import Literal

from services.worker.gpus.nvml import Nvml, NvmlFault
from shared.settings import visible_gpus

Build = Literal["cpu", "cuda", "rocm"]

_TOOLKIT = (
    "install NVIDIA's driver; in a container, the NVIDIA container toolkit on its host, "
    "and give the container the GPUs (`gpus: all`; deploy/README.md, GPUs)"
)


def torch_build() -> Build:
    """Return for what the installed torch is built, by its version, such as `2.13.0+cpu`."""
    try:
        local = metadata.version("torch").partition("+")[2]
    except metadata.PackageNotFoundError:
        return "cpu"
    return "cpu" if local.startswith("cpu") else "rocm" if local.startswith("rocm") else "cuda"


def has_driver() -> bool:
    """Return whether the driver's library is there, without which CUDA cannot begin."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def why_no_cuda(nvml: Nvml, torch_cuda: str | None = None) -> str:
    """Return why torch finds no CUDA device, and what to do.

    Args:
        nvml: is asked about the driver.
        torch_cuda: the CUDA that torch is built for, as `13.0`, where that is known.
    """
    return explain(torch_build(), visible_gpus(), nvml, torch_cuda, driver=has_driver())


def explain(
    build: Build, shown: str | None, nvml: Nvml, torch_cuda: str | None, *, driver: bool
) -> str:
    """Return what `why_no_cuda` does, of what it has found.

    Args:
        build: of torch.
        shown: CUDA_VISIBLE_DEVICES.
        nvml: see there.
        torch_cuda: see there.
        driver: whether the driver's library is there.
    """
    if build == "cpu":
        return (
            "this torch is built for CPUs: install PyTorch's CUDA build (TORCH_INDEX_URL chooses "
            "its package index), or leave LLMZOO_DEVICE out"
        )
    if not driver:
        return f"there is no NVIDIA driver here: {_TOOLKIT}"
    if shown is not None and not shown.startswith(("GPU-", "MIG-")):
        return f"CUDA_VISIBLE_DEVICES is {shown!r}: leave it out, or let it name a GPU that is here"
    try:
        told = nvml.driver()
    except NvmlFault as fault:
        return f"the NVIDIA driver does not answer ({fault}): {_TOOLKIT}"
    if torch_cuda is not None and _newer(torch_cuda, told.cuda):
        return (
            f"the NVIDIA driver {told.version} runs CUDA up to {told.cuda}, and this torch "
            f"needs {torch_cuda}: update the driver, or install another build of PyTorch "
            "(TORCH_INDEX_URL)"
        )
    return f"the NVIDIA driver {told.version} (CUDA {told.cuda}) is there, but gives no device"


def _newer(asked: str, has: str) -> bool:
    """Compare major versions: within one, a driver runs what is newer than itself."""
    return int(asked.partition(".")[0]) > int(has.partition(".")[0])
