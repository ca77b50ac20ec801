"""Which torch is installed, and for which GPUs it was built, told without importing it.

Owns the reading of its folder and its wheel's metadata.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from services.cli.doctor.check import Check, fail, ok, warn

INSTALL_WORKER = "pip install 'llmzoo[worker]'"
# As version.py has them: `cuda: Optional[str] = '13.0'`.
_FIELD = r"^{name}(?::[^=\n]*)?\s*=\s*['\"]([^'\"]+)['\"]"
_NEEDED = ("lib/libtorch_cpu.*", "_C.*")
_NVIDIA = re.compile(r"(nvidia-[a-z0-9-]+|triton)\b(?!.*extra ==)")


@dataclass(frozen=True, slots=True)
class TorchBuild:
    """`cuda` is the version of CUDA it was built for, None: for none; `rocm` is AMD's likewise."""

    folder: Path
    version: str
    cuda: tuple[int, int] | None = None
    rocm: str = ""

    def __str__(self) -> str:
        """Return the version and what it was built for."""
        if self.cuda:
            return f"{self.version}, built for CUDA {self.cuda[0]}.{self.cuda[1]}"
        return f"{self.version}, built for {f'ROCm {self.rocm}' if self.rocm else 'the processor'}"


def installed() -> TorchBuild | None:
    """Return the torch that this Python would import; None: there is none."""
    spec = find_spec("torch")
    places = spec.submodule_search_locations if spec else None
    return read_build(Path(places[0])) if places else None


def read_build(folder: Path) -> TorchBuild:
    """Return what `folder`/version.py tells; a version that is missing is empty."""
    try:
        text = (folder / "version.py").read_text(errors="replace")
    except OSError:
        return TorchBuild(folder, "")
    told = {name: _field(text, name) for name in ("__version__", "cuda", "hip")}
    parts = told["cuda"].split(".")
    cuda = (
        (int(parts[0]), int(parts[1])) if len(parts) > 1 and all(map(str.isdigit, parts)) else None
    )
    return TorchBuild(folder, told["__version__"], cuda, told["hip"])


def torch(build: TorchBuild | None) -> Check:
    """Find whether the torch that is installed is whole."""
    if build is None:
        return warn("torch", "not installed; workers need it", INSTALL_WORKER)
    missing = [name for name in _NEEDED if not any(build.folder.glob(name))]
    if not build.version or missing:
        told = f"{build.folder} is damaged: {', '.join(missing) or 'version.py'} is missing"
        return fail("torch", told, f"pip uninstall -y torch && {INSTALL_WORKER}")
    if lacking := _lacking_wheels(build):
        told = f"{build}; it cannot be imported without {', '.join(lacking)}"
        return fail("torch", told, f"pip install {' '.join(lacking)}")
    return ok("torch", str(build))


def _field(text: str, name: str) -> str:
    found = re.search(_FIELD.format(name=name), text, re.MULTILINE)
    return found[1] if found else ""


def _lacking_wheels(build: TorchBuild) -> list[str]:
    """Return the wheels with CUDA's libraries that torch asks for and that are not installed."""
    if build.cuda is None:
        return []
    try:
        asked = metadata.requires("torch") or []
    except metadata.PackageNotFoundError:
        return []
    names = [found[1] for line in asked if (found := _NVIDIA.match(line))]
    return [name for name in names if not _is_installed(name)]


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
