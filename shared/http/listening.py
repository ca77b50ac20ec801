"""Listening sockets: made here, or handed down by whoever started this process.

Owns the making and the check of one that was handed down (systemd's convention, which `llmzoo up`
follows too): connections wait in its queue while the process behind it is replaced. Imports no
server, so that the supervisor can use it.
"""

from __future__ import annotations

import errno
import socket

from shared.errors import ConfigurationError, PortTaken
from shared.settings import inherited_descriptors

FIRST_DESCRIPTOR = 3
"""Where systemd's convention puts the first socket that is handed down."""

_BACKLOG = 2048


def listening_socket(host: str, port: int) -> socket.socket:
    """Return a socket that listens on `host`:`port`.

    Raises:
        PortTaken: it is in use, or no address of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio sets TCP_NODELAY only where it is.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen(_BACKLOG)
    except OSError as fault:
        sock.close()
        if fault.errno == errno.EADDRINUSE:
            msg = f"port {port} on {host} is in use by another program"
        else:
            msg = f"cannot bind {host}:{port}: {fault.strerror}"
        raise PortTaken(msg) from fault
    return sock


def inherited_socket(host: str, port: int) -> socket.socket | None:
    """Return the socket that was handed down to this process, None if none was.

    It must listen where the settings say: what is allowed without a key follows from them.

    Raises:
        ConfigurationError: it listens elsewhere, or there are several.
    """
    count = inherited_descriptors()
    if not count:
        return None
    if count > 1:
        msg = f"LISTEN_FDS={count}: one listening socket is expected"
        raise ConfigurationError(msg, param="LISTEN_FDS")
    try:
        sock = socket.socket(fileno=FIRST_DESCRIPTOR)
    except OSError as fault:
        msg = f"LISTEN_FDS: descriptor {FIRST_DESCRIPTOR} is no socket ({fault.strerror})"
        raise ConfigurationError(msg, param="LISTEN_FDS") from None
    sock.set_inheritable(False)
    if not _listens_on(sock, host, port):
        msg = (
            f"LISTEN_FDS: the socket handed down is not a listening one on {host}:{port}, "
            "which the settings name"
        )
        raise ConfigurationError(msg, param="LISTEN_FDS")
    return sock


def _listens_on(sock: socket.socket, host: str, port: int) -> bool:
    if sock.family not in {socket.AF_INET, socket.AF_INET6}:
        return False
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return False
    try:
        wanted = socket.getaddrinfo(host, port, sock.family, socket.SOCK_STREAM)
    except socket.gaierror:
        return False
    return sock.getsockname()[:2] in {address[:2] for *_, address in wanted}
