"""Whether the driver serves the CUDA that torch was built for, and starts at all.

Owns the comparison and the driver's error codes. The driver is asked in a process of its own: it
may hang, and what it loads stays loaded.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from services.cli.doctor.check import Check, fail, ok, warn
from services.cli.doctor.nvidia import Nvidia
from services.cli.doctor.programs import ask
from services.cli.doctor.torch_build import TorchBuild

# Prints what the driver's own start says, as an error code.
_START = "import ctypes; print(ctypes.CDLL('libcuda.so.1').cuInit(0))"
# The first driver that serves any program built for this major version of CUDA.
_LEAST_DRIVER = {11: "450.80.02", 12: "525.60.13", 13: "580.65.06"}

# By code: what it means, what to do.
_CODES = {
    "34": (
        "libcuda.so.1 is the stub for compiling, not the driver",
        "remove CUDA's stubs folder from LD_LIBRARY_PATH",
    ),
    "100": (
        "the driver shows no GPU to this process",
        "unset CUDA_VISIBLE_DEVICES and NVIDIA_VISIBLE_DEVICES, or name a GPU that exists",
    ),
    "802": (
        "the GPUs' fabric is not up",
        "sudo systemctl enable --now nvidia-fabricmanager",
    ),
    "803": (
        "libcuda.so.1 is not of the version of the kernel's driver",
        "reboot after an update of the driver, restart a container, remove other libcuda.so.1",
    ),
    "804": (
        "a compatibility library stands before the driver's own, for another kind of GPU",
        "remove /usr/local/cuda/compat from LD_LIBRARY_PATH (package cuda-compat)",
    ),
    "999": (
        "the driver does not start",
        "sudo modprobe nvidia_uvm; reboot if that does not help",
    ),
}


def cuda(
    seen: Nvidia | None,
    build: TorchBuild | None,
    *,
    wanted: bool,
    interpreter: str = sys.executable,
) -> Iterator[Check]:
    """Find whether torch can use the GPUs that are there."""
    if seen is None or seen.fault or not seen.gpus or build is None or build.rocm:
        return
    if build.cuda is None:
        yield _built_for_cpu(build, wanted=wanted)
        return
    old = _too_old(seen, build.cuda)
    yield old or _started(seen, build.cuda, interpreter)


def _built_for_cpu(build: TorchBuild, *, wanted: bool) -> Check:
    told = f"torch {build.version} is a CPU build although there is a GPU"
    release = build.version.partition("+")[0]
    fix = (
        f"pip install --force-reinstall torch=={release} (PyPI's is built for CUDA), "
        "or `make up TORCH_INDEX_URL=…` with the index that PyTorch's installation page names"
    )
    return fail("CUDA", told, fix) if wanted else warn("CUDA", told, fix)


def _too_old(seen: Nvidia, built: tuple[int, int]) -> Check | None:
    if seen.cuda is None or seen.cuda >= built:
        return None
    told = (
        f"the driver{f' {seen.driver}' if seen.driver else ''} serves CUDA up to "
        f"{_text(seen.cuda)}, and torch is built for {_text(built)}"
    )
    if seen.cuda[0] == built[0]:
        # CUDA's minor-version compatibility: all but what is compiled at run time works.
        other = f"a torch that is built for CUDA {_text(seen.cuda)} (TORCH_INDEX_URL)"
        fix = f"if kernels fail to load: update the driver, or install {other}"
        return warn("CUDA", f"{told}: most of it works", fix)
    least = _LEAST_DRIVER.get(built[0], "a newer one")
    other = f"install a torch that is built for CUDA {seen.cuda[0]} (TORCH_INDEX_URL)"
    fix = f"update the driver to {least} or newer, or {other}"
    return fail("CUDA", f"{told}: the driver is too old", fix)


def _started(seen: Nvidia, built: tuple[int, int], interpreter: str) -> Check:
    told = ask(interpreter, ["-S", "-E", "-c", _START])
    if told is None or not told.well:
        why = "no interpreter" if told is None else told.complaint
        fix = "start the container with NVIDIA_DRIVER_CAPABILITIES=compute,utility, or install the driver again"
        return fail("CUDA", f"the driver's libcuda.so.1 cannot be loaded: {why}", fix)
    code = told.out.strip()
    if code == "0":
        newest = f", and the driver serves up to {_text(seen.cuda)}" if seen.cuda else ""
        return ok("CUDA", f"torch is built for {_text(built)}{newest}")
    meaning, fix = _CODES.get(code, ("the driver does not start", "reboot, or update the driver"))
    return fail("CUDA", f"{meaning} (CUDA error {code})", fix)


def _text(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
