"""A worker as a process whose model is scripted and whose CUDA is a file: `gpu_worker.py`.

All else is the real worker. It is ready where the file that FAKE_CUDA names is there; without it
every computation fails, as on a GPU that the container has lost.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

from services.worker.__main__ import main
from services.worker.served_model import ServedModel
from shared.errors import GpuLost
from shared.progress import ProgressCallback
from shared.settings import WorkerSettings
from tests.fakes.scripted_model import scripted_model


def open_scripted(_settings: WorkerSettings, _report: ProgressCallback) -> ServedModel:
    # What CUDA would show to a process that begins to use it now.
    print("shown", os.environ.get("CUDA_VISIBLE_DEVICES"), file=sys.stderr, flush=True)
    cuda = Path(os.environ["FAKE_CUDA"])

    def probe() -> None:
        if not cuda.exists():
            raise GpuLost("cuda:0: CUDA error: no CUDA-capable device is detected")

    return replace(scripted_model()[0], probe=probe)


if __name__ == "__main__":
    sys.exit(main(open_scripted))
