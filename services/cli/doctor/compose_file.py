"""Our docker-compose.yml, where this is run beside it: what it publishes, asks for, and reads.

Owns the reading of that file. Compose itself checks it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml

NAME = "docker-compose.yml"
_PROJECT = "llmzoo"
_USED = re.compile(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)")
# The host's side of an entry below `ports`, a variable with its default.
_PUBLISHED = re.compile(r"\$\{([A-Za-z_]\w*):-(\d+)\}:\d+$")
LAST_PORT = 65535


@dataclass(frozen=True, slots=True)
class ComposeFile:
    """The file's text, and its services as they stand there."""

    text: str
    services: Mapping[str, Mapping[str, Any]]

    @property
    def variables(self) -> set[str]:
        """Return the names of the variables that it reads."""
        return set(_USED.findall(self.text))

    @property
    def asks_for_gpus(self) -> bool:
        """Return whether a service has the form `gpus:`."""
        return any("gpus" in service for service in self.services.values())

    def published(self, told: Mapping[str, str]) -> Iterator[tuple[str, int]]:
        """Yield variable and port of each port that it publishes, where `.env` tells `told`."""
        active = {name.strip() for name in told.get("COMPOSE_PROFILES", "").split(",")}
        for service in self.services.values():
            profiles: list[str] = service.get("profiles") or []
            if profiles and active.isdisjoint(profiles):
                continue
            ports: list[object] = service.get("ports") or []
            for port in ports:
                if found := _PUBLISHED.search(str(port)):
                    number = told.get(found[1]) or found[2]
                    if is_port(number):
                        yield found[1], int(number)


def compose_file(folder: Path) -> ComposeFile | None:
    """Return the file in `folder`; None: there is none of ours that can be read."""
    try:
        text = (folder / NAME).read_text(encoding="utf-8")
        told: object = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None
    content = cast("dict[str, Any]", told) if isinstance(told, dict) else {}
    services: object = content.get("services")
    if content.get("name") != _PROJECT or not isinstance(services, dict):
        return None
    named = cast("dict[str, object]", services).items()
    whole = {name: cast("dict[str, Any]", each) for name, each in named if isinstance(each, dict)}
    return ComposeFile(text, whole)


def is_port(text: str) -> bool:
    """Return whether this is the number of a port."""
    return text.isdecimal() and 0 < int(text) <= LAST_PORT
