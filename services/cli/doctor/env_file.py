"""The `.env` beside docker-compose.yml: whether compose can read it, and means what it seems to.

Owns the file's syntax as far as compose refuses it or reads it otherwise than people expect. Shows
no value: they are secrets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from services.cli.doctor.check import Check, fail, ok, warn

COMPOSE_FILE = "docker-compose.yml"
_LINE = re.compile(r"\s*(?:export\s+)?(?P<name>[^=:]*?)\s*(?:[=:]\s?(?P<value>.*))?$", re.DOTALL)
_NAME = re.compile(r"[A-Za-z0-9_.\-\[\]]+")
_USED = re.compile(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)")
_PUBLISHED = re.compile(r"\$\{([A-Za-z_]\w*):-(\d+)\}:\d+")
_DOLLAR = re.compile(r"(?<![\\$])\$(?:\w|\{)")
_LAST_PORT = 65535


@dataclass(slots=True)
class EnvFile:
    """What a `.env` says, its faults and its doubtful places, each with its line's number."""

    values: dict[str, str] = field(default_factory=dict[str, str])
    faults: list[str] = field(default_factory=list[str])
    doubts: list[str] = field(default_factory=list[str])


def read_env_file(text: str) -> EnvFile:
    """Return what compose would read, and where it would stumble."""
    read = EnvFile()
    lines = iter(enumerate(text.removeprefix("\ufeff").splitlines(), 1))
    for number, line in lines:
        if line.strip() and not line.lstrip().startswith("#"):
            _read_line(read, number, line, lines)
    return read


def env_file(folder: Path, known: AbstractSet[str]) -> Iterator[Check]:
    """Find whether the `.env` in `folder` is well formed, where our docker-compose.yml is.

    Args:
        folder: the project's.
        known: names of our settings; with those that the compose file uses, all that make sense.
    """
    if not is_project(folder):
        return
    file = folder / ".env"
    try:
        read = read_env_file(file.read_text(encoding="utf-8"))
        used = set(_USED.findall((folder / COMPOSE_FILE).read_text(errors="replace")))
    except FileNotFoundError:
        yield ok(".env", "there is none, and none is needed: see .env.example")
        return
    except UnicodeDecodeError:
        yield fail(".env", f"{file} is no UTF-8 text", "write it anew from .env.example")
        return
    except OSError as fault:
        yield fail(".env", f"{file} cannot be read: {fault.strerror}", f"chmod u+r {file}")
        return
    _check_names(read, used | known)
    _check_ports(read)
    if read.faults:
        yield fail(".env", "; ".join(read.faults), f"correct {file}; .env.example shows the form")
    elif read.doubts:
        yield warn(".env", "; ".join(read.doubts), f"correct {file}")
    else:
        yield ok(".env", f"{len(read.values)} settings")


def is_project(folder: Path) -> bool:
    """Return whether our docker-compose.yml is in `folder`."""
    try:
        return "\nname: llmzoo\n" in f"\n{(folder / COMPOSE_FILE).read_text(errors='replace')}"
    except OSError:
        return False


def published_ports(folder: Path) -> Mapping[str, int]:
    """Return the ports that docker-compose.yml in `folder` publishes, by their variable."""
    if not is_project(folder):
        return {}
    found = _PUBLISHED.findall((folder / COMPOSE_FILE).read_text(errors="replace"))
    told = values(folder)
    numbers = {name: told.get(name) or default for name, default in found}
    return {name: int(text) for name, text in numbers.items() if _is_port(text)}


def values(folder: Path) -> Mapping[str, str]:
    """Return what the `.env` in `folder` says; nothing where there is none that can be read."""
    try:
        return read_env_file((folder / ".env").read_text(encoding="utf-8")).values
    except (OSError, UnicodeDecodeError):
        return {}


def _read_line(read: EnvFile, number: int, line: str, more: Iterator[tuple[int, str]]) -> None:
    found = _LINE.match(line)
    name = found["name"] if found else ""
    value = (found["value"] if found else None) or ""
    if not _NAME.fullmatch(name):
        read.faults.append(f"line {number} is no NAME=value")
        return
    if found is not None and found["value"] is None:
        read.doubts.append(f"line {number}: {name} has no value; write {name}=")
        return
    value = value.strip()
    if value[:1] in {'"', "'"}:
        whole = _quoted(value, more)
        if whole is None:
            read.faults.append(f"line {number}: the quote after {name}= is never closed")
            return
        quote, value = value[0], whole
    else:
        quote, value = "", re.split(r"\s#", value, maxsplit=1)[0].strip()
    if quote != "'" and _DOLLAR.search(value):
        read.doubts.append(f"line {number}: the $ in {name} names a variable; '…' keeps it a $")
    if name in read.values:
        read.doubts.append(f"line {number}: {name} stands there twice, the last one counts")
    read.values[name] = value


def _quoted(value: str, more: Iterator[tuple[int, str]]) -> str | None:
    """Return what stands in quotes, over several lines if need be; None: they are not closed."""
    quote, text = value[0], value[1:]
    end = re.compile(rf"(?<!\\){quote}")
    while not (found := end.search(text)):
        following = next(more, None)
        if following is None:
            return None
        text += "\n" + following[1]
    return text[: found.start()]


def _check_names(read: EnvFile, known: AbstractSet[str]) -> None:
    for name in read.values:
        if name.startswith("LLMZOO_") and name not in known:
            near = get_close_matches(name, known, 1)
            meant = f"; {near[0]} is meant?" if near else ""
            read.doubts.append(f"nothing reads {name}{meant}")


def _check_ports(read: EnvFile) -> None:
    for name, value in read.values.items():
        if name.endswith("_PORT") and value and not _is_port(value):
            read.faults.append(f"{name} is no port from 1 to {_LAST_PORT}")


def _is_port(text: str) -> bool:
    return text.isdigit() and 0 < int(text) <= _LAST_PORT
