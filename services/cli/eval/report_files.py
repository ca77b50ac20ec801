"""A run's reports as files.

Owns their names, and that a file is written whole or not at all.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from services.cli.client import call
from shared.errors import OutputNotWritten
from shared.eval_client import EvalClient
from shared.protocol.evals.run import Run
from shared.settings import ClientSettings

_NAMES = {
    "html": "report.html",
    "md": "report.md",
    "json": "results.json",
    "csv": "figures.csv",
    "jsonl": "items.jsonl",
}


def fetch(settings: ClientSettings, run: Run, form: str) -> bytes:
    """Return a report; raises as ZooClient."""
    return call(settings, lambda zoo: EvalClient(zoo).report(run, form))


def write_all(settings: ClientSettings, run: Run, folder: Path) -> list[Path]:
    """Write every report into a folder, which is made if need be.

    Raises:
        OutputNotWritten: a file cannot be written. Whatever ZooClient raises.
    """
    written: list[Path] = []
    for form, name in _NAMES.items():
        write_file(folder / name, fetch(settings, run, form))
        written.append(folder / name)
    return written


def write_file(path: Path, content: bytes) -> None:
    """Write a file whole. Raises OutputNotWritten."""
    part: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        umask = os.umask(0)
        os.umask(umask)
        Path(part).chmod(0o666 & ~umask)
        Path(part).replace(path)
    except OSError as fault:
        if part is not None:
            with contextlib.suppress(OSError):
                Path(part).unlink()
        raise OutputNotWritten(f"{path}: {fault.strerror or fault}") from None
