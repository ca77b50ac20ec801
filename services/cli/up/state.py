"""The supervisor's private files: folders of mode 0700, secrets of mode 0600.

Owns their making and their modes. Knows nothing of what is kept in them.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path

from shared.errors import ConfigurationError

OWNER_ONLY_FOLDER = 0o700
SECRET_BYTES = 32


def private_folder(path: Path) -> Path:
    """Make `path`, readable by its owner alone.

    Raises:
        ConfigurationError: it cannot be made, or belongs to somebody else.
    """
    try:
        path.mkdir(mode=OWNER_ONLY_FOLDER, parents=True, exist_ok=True)
        path.chmod(OWNER_ONLY_FOLDER)
    except OSError as error:
        msg = f"the folder {path} cannot be used: {error.strerror}. Set LLMZOO_STATE_DIR"
        raise ConfigurationError(msg, param="LLMZOO_STATE_DIR") from error
    return path


def write_private(path: Path, text: str) -> None:
    """Replace the file as a whole; nobody else can read it at any moment."""
    descriptor, draft = tempfile.mkstemp(dir=path.parent)  # mode 0600
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    Path(draft).replace(path)


def kept_secret(path: Path) -> str:
    """Return the secret kept in `path`, made at the first call."""
    if path.exists() and (kept := path.read_text(encoding="utf-8").strip()):
        return kept
    made = secrets.token_hex(SECRET_BYTES)
    write_private(path, made)
    return made
