"""NVIDIA GPUs and their driver, as its own tool tells of them.

Owns the tool's output and what its failures mean. Knows no torch; `cuda` compares the two.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from services.cli.doctor.check import Check, fail, ok, warn
from services.cli.doctor.programs import Told, ask

TOOL = "nvidia-smi"
_QUERY = (
    "--query-gpu=name,memory.total,memory.free,driver_version",
    "--format=csv,noheader,nounits",
)
_MIB = 1 << 20
# Newer tools say that it is the user-mode driver's.
_CUDA = re.compile(r"CUDA (?:UMD )?Version *: *(\d+)\.(\d+)")
_DRIVER = re.compile(r"\d{3,}\.\d+(?:\.\d+)?")
# The first driver of each version of CUDA, in order; for a tool that does not tell.
_CUDA_OF_DRIVER = (
    (450, (11, 0)),
    (525, (12, 0)),
    (530, (12, 1)),
    (535, (12, 2)),
    (545, (12, 3)),
    (550, (12, 4)),
    (555, (12, 5)),
    (560, (12, 6)),
    (570, (12, 8)),
    (575, (12, 9)),
    (580, (13, 0)),
    (590, (13, 1)),
)
_DISPLAY, _NVIDIA = "0x03", "0x10de"  # a PCI class, and the vendor


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU; bytes are 0 where it does not tell."""

    name: str
    memory: int = 0
    free: int = 0


@dataclass(frozen=True, slots=True)
class Nvidia:
    """What the tool tells: the GPUs, the driver, the newest CUDA it serves, or what is wrong."""

    gpus: tuple[Gpu, ...] = ()
    driver: str = ""
    cuda: tuple[int, int] | None = None
    fault: str = ""


def look(tool: str = TOOL) -> Nvidia | None:
    """Return what `tool` tells; None: it is not installed."""
    # At once: where the driver sleeps, each takes a second.
    with ThreadPoolExecutor(2) as pool:
        told, head = pool.map(partial(ask, tool), (_QUERY, ()))
    if told is None:
        return None
    if not told.well:
        return Nvidia(fault=told.complaint)
    rows = [[cell.strip() for cell in line.split(",")] for line in told.out.splitlines()]
    rows = [row for row in rows if len(row) > 1]
    gpus = tuple(Gpu(row[0], *map(_bytes, row[1:3])) for row in rows)
    driver = next((cell for row in rows for cell in row[1:] if _DRIVER.fullmatch(cell)), "")
    return Nvidia(gpus, driver, _cuda(head, driver))


def gpu(seen: Nvidia | None, *, wanted: bool, in_container: bool, root: Path = Path("/")) -> Check:
    """Find whether there are GPUs that work; having none is well unless they are `wanted`."""
    if seen is None:
        return _without_tool(wanted=wanted, in_container=in_container, root=root)
    if seen.fault:
        return fail("GPU", f"{TOOL} fails: {seen.fault}", _mending(seen.fault))
    if not seen.gpus:
        return warn(
            "GPU", "a driver, and no GPU", "check that the GPU is plugged in: `lspci | grep NVIDIA`"
        )
    text = "; ".join(_described(each) for each in seen.gpus)
    if seen.driver:
        text += f"; driver {seen.driver}"
    if seen.cuda:
        text += f" for CUDA up to {seen.cuda[0]}.{seen.cuda[1]}"
    return ok("GPU", text)


def _without_tool(*, wanted: bool, in_container: bool, root: Path) -> Check:
    if wanted and in_container and (root / "dev/nvidiactl").exists():
        told = f"this container has GPUs and no {TOOL}"
        return warn("GPU", told, "start it with NVIDIA_DRIVER_CAPABILITIES=compute,utility")
    if wanted and in_container:
        told = "LLMZOO_DEVICE is cuda, and this container was given no GPU"
        fix = "start it with `gpus: all` (profile gpu); `llmzoo doctor` on the host looks further"
        return fail("GPU", told, fix)
    if _has_card(root) and not in_container:
        told = "there is an NVIDIA GPU without its driver"
        return warn(
            "GPU", told, "install the driver (Ubuntu: `sudo ubuntu-drivers install`), reboot"
        )
    if wanted:
        told = f"LLMZOO_DEVICE is cuda, and no {TOOL} is on PATH"
        return fail("GPU", told, "install NVIDIA's driver, or unset LLMZOO_DEVICE")
    return ok("GPU", f"no {TOOL} on PATH; models run on the processor")


def _mending(fault: str) -> str:
    """Return what helps against a complaint of the tool."""
    if "version mismatch" in fault:
        return "the driver was updated under the running system: reboot"
    if "Unknown Error" in fault:
        return "the container has lost its GPU: restart it"
    if "no answer" in fault:
        return "the driver hangs or wakes up slowly: `sudo nvidia-smi -pm 1`, else reboot"
    return "reboot; if that does not help, install the driver again (`dmesg | grep -i nvidia` tells why)"


def _described(each: Gpu) -> str:
    return f"{each.name}, {each.memory / _MIB:.0f} MiB" if each.memory else each.name


def _bytes(cell: str) -> int:
    found = re.fullmatch(r"(\d+)(?: MiB)?", cell)
    return int(found[1]) * _MIB if found else 0


def _cuda(head: Told | None, driver: str) -> tuple[int, int] | None:
    if head is not None and (found := _CUDA.search(head.out)):
        return int(found[1]), int(found[2])
    if not driver:
        return None
    major = int(driver.partition(".")[0])
    fitting = [cuda for first, cuda in _CUDA_OF_DRIVER if first <= major]
    return fitting[-1] if fitting else None


def _has_card(root: Path) -> bool:
    """Return whether the PCI bus has a GPU of NVIDIA's."""
    for device in (root / "sys/bus/pci/devices").glob("*"):
        try:
            vendor, kind = ((device / name).read_text() for name in ("vendor", "class"))
        except OSError:
            continue
        if vendor.startswith(_NVIDIA) and kind.startswith(_DISPLAY):
            return True
    return False
