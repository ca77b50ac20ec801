"""Which TCP ports are free.

Owns the asking of the kernel. Knows no service.
"""

from __future__ import annotations

import errno
import socket

LAST_PORT = 65535
LOOPBACK = "127.0.0.1"


def is_free(host: str, port: int) -> bool:
    """Return whether a server could listen on this address now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As servers do it: connections of an ended server that still linger are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise
    return True


def next_free(host: str, first: int, avoid: set[int]) -> int | None:
    """Return the first free port from `first` on that is not in `avoid`, None if there is none."""
    return next(
        (port for port in range(first, LAST_PORT + 1) if port not in avoid and is_free(host, port)),
        None,
    )


def any_free() -> int:
    """Return a free loopback port of the kernel's choice."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port
