"""A machine with NVIDIA GPUs, for processes: what they find on PYTHONPATH, and one file of state.

`pynvml` is the fake; torch's metadata say that it is built for CUDA, though what is imported is
the torch that is installed, which finds none. The first import of torch notes what CUDA would
show then.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from services.worker.gpus.nvml import Nvml
from tests.fakes.command_line import PROJECT
from tests.fakes.fake_nvml import FakeNvml

_BINDING = """
import os
from pathlib import Path

from tests.fakes.fake_nvml import FakeNvml

_nvml = FakeNvml(Path(os.environ["FAKE_NVML"]))


def __getattr__(name):
    return getattr(_nvml, name)
"""
_NOTE_IMPORT = """
import os
import sys
from pathlib import Path


class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            sys.meta_path.remove(self)
            Path(os.environ["FAKE_NVML"]).with_name(f"shown-{os.getpid()}").write_text(
                os.environ.get("CUDA_VISIBLE_DEVICES", "not set")
            )


sys.meta_path.insert(0, Finder())
"""


class GpuHost:
    def __init__(self, folder: Path, *uuids: str, memory: float = 24) -> None:
        self._folder = folder
        self._state = folder / "nvml.json"
        self.has(*[{"uuid": uuid, "memory": memory} for uuid in uuids])
        (folder / "pynvml.py").write_text(_BINDING)
        (folder / "sitecustomize.py").write_text(_NOTE_IMPORT)
        about = folder / "torch-2.13.0+cu130.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: torch\nVersion: 2.13.0+cu130\n"
        )

    @property
    def environment(self) -> dict[str, str]:
        path = os.pathsep.join([str(self._folder), str(PROJECT)])
        return {"PYTHONPATH": path, "FAKE_NVML": str(self._state)}

    @property
    def nvml(self) -> Nvml:
        """Ours over the fake, in this process."""
        fake = FakeNvml(self._state)
        return Nvml(lambda: fake)

    def has(self, *gpus: dict[str, Any], **faults: Any) -> None:
        """Change what NVML tells from now on."""
        new = self._state.with_suffix(".new")
        new.write_text(json.dumps({"gpus": gpus, **faults}))
        new.replace(self._state)

    def shown_at_import(self, pid: int) -> str | None:
        """Return what CUDA_VISIBLE_DEVICES was when the process imported torch."""
        note = self._folder / f"shown-{pid}"
        return note.read_text() if note.exists() else None
