"""A file of API keys: one a line, `key [scopes …]`, `#` begins a comment.

Owns the grammar. What a scope is called, and what it allows, is the controller's affair.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from shared.errors import ConfigurationError

_COMMENT = re.compile(r"(?:^|\s)#.*")


@dataclass(frozen=True, slots=True)
class KeyLine:
    """One key; without scopes it has all of them."""

    key: str
    scopes: tuple[str, ...]
    number: int
    """Of the line, from 1."""


def read_key_file(path: Path) -> list[KeyLine]:
    """Return the keys in `path`.

    Raises:
        ConfigurationError: it cannot be read, is no text, or holds a key twice. No key is named.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as fault:
        raise _wrong(f"{path} cannot be read: {fault.strerror}") from None
    except UnicodeDecodeError:
        raise _wrong(f"{path} is no UTF-8 text") from None
    lines: dict[str, KeyLine] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = _COMMENT.sub("", line).split()
        if not words:
            continue
        key, *scopes = words
        if key in lines:
            raise _wrong(f"{path}: line {number} repeats the key of line {lines[key].number}")
        lines[key] = KeyLine(key, tuple(scopes), number)
    return list(lines.values())


def _wrong(what: str) -> ConfigurationError:
    return ConfigurationError(f"LLMZOO_API_KEYS_FILE: {what}", param="LLMZOO_API_KEYS_FILE")
