"""Where a server listens, and the head of a request to it.

Owns the base URL taken apart and HTTP/1.1's first lines. Knows no socket.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Origin:
    """A base URL, taken apart once."""

    host: str
    port: int
    tls: bool
    prefix: str
    authority: str

    @classmethod
    def of(cls, address: str) -> Self:
        """Return the origin of a base URL that was checked before."""
        parts = urlsplit(address)
        tls = parts.scheme == "https"
        port = parts.port or (443 if tls else 80)
        return cls(parts.hostname or "", port, tls, parts.path.rstrip("/"), parts.netloc)


def request_head(
    origin: Origin, method: str, target: str, headers: Iterable[tuple[str, str]]
) -> bytes:
    """Return request line and headers; `target` is put behind the base URL's own path.

    Nothing is escaped: who gives names and values has checked that they hold no line's end.
    """
    lines = [f"{method} {origin.prefix}{target} HTTP/1.1", f"host: {origin.authority}"]
    lines += [f"{name}: {value}" for name, value in headers]
    lines += ["", ""]
    return "\r\n".join(lines).encode("latin-1")
