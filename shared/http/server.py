"""Running one ASGI app in one process: bind first, serve, drain on SIGTERM.

Owns sockets and signals. Knows nothing of what the app does.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import resource
import signal
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from types import FrameType
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp

from shared.errors import PortTaken
from shared.http.limited_protocol import LimitedProtocol, ServerLimits
from shared.http.listening import inherited_socket, listening_socket

DEFAULT_LIMITS = ServerLimits()
_GC_THRESHOLDS = (20_000, 20, 20)
_MOST_DESCRIPTORS = 65_536
_FORCE_SECONDS = 0.1
"""In which a second Ctrl-C is noticed."""
_CUT_SECONDS = 0.25
"""Before the time is over: what still runs meets a client that has gone, and no cancellation."""
_OTHER_DESCRIPTORS = 128
"""Left for everything that is no request: libraries, Redis, logs."""


@dataclass(frozen=True, slots=True)
class Listener:
    """A bound socket and the base URL under which it is reached."""

    sock: socket.socket
    url: str

    @property
    def port(self) -> int:
        """Return the port that was got."""
        port: int = self.sock.getsockname()[1]
        return port


@dataclass(frozen=True, slots=True)
class Service:
    """An app and what to do when the process is told to stop.

    While `drained` is awaited connections are still taken: what runs may be taken over or ended by
    others. None: what runs ends with its connections.
    """

    app: ASGIApp
    drain: Callable[[], None]
    drained: Callable[[], Awaitable[None]] | None = None


def bind(host: str, port: int, *, next_free: bool = False, advertise: str = "") -> Listener:
    """Listen on `host`:`port`, or with `next_free` on the first free port from there on.

    A socket that was handed down to this process is used where there is one. The URL is
    `advertise` if given, else the host bound; for a wildcard address it is this machine's name,
    which is what a container network resolves.

    Raises:
        PortTaken: the port, or each of a hundred from it on, is in use.
        ConfigurationError: the socket handed down is another one.
    """
    sock = inherited_socket(host, port) or _first_free(host, port, 100 if next_free else 1)
    return Listener(sock, advertise or _url(host, sock.getsockname()[1]))


def serve(
    service: Service,
    listener: Listener,
    drain_timeout: float,
    limits: ServerLimits = DEFAULT_LIMITS,
) -> None:
    """Serve until SIGTERM or SIGINT, then let running requests finish.

    Args:
        service: the app; its `drain` is called in the signal handler, so it must only set
            flags.
        listener: where to serve.
        drain_timeout: seconds that running requests get.
        limits: what clients may take; no more connections than there are descriptors for.
    """
    # What is there now stays; what requests leave behind is nearly never a cycle.
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
    limits = replace(limits, connections=min(limits.connections, _most_connections()))
    config = server_config(service.app, drain_timeout, limits)
    _DrainingServer(config, service).run(sockets=[listener.sock])


def server_config(app: ASGIApp, drain_timeout: float, limits: ServerLimits) -> uvicorn.Config:
    """Return how every service of ours is served."""
    return uvicorn.Config(
        app,
        http=cast("type[asyncio.Protocol]", partial(LimitedProtocol, limits)),
        loop="uvloop",
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=False,
        timeout_keep_alive=30,
        # Nobody asks who the client is.
        proxy_headers=False,
        timeout_graceful_shutdown=max(1, round(drain_timeout)),
    )


class _DrainingServer(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # Not uvicorn's own: it raises the signal again at the end, and a drained process
        # would exit with 143 or a traceback and not with 0.
        del frame
        if not self.should_exit:  # told again, it has no more time than before
            self._service.drain()
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the sockets once what runs has ended; connections get what is left of the time."""
        if self._service.drained is not None:
            await self._wait_for(self._service.drained())
        for server in self.servers:
            server.close()
        # What was accepted in this turn of the loop becomes a connection in the next, and only
        # connections are told that we leave.
        await asyncio.sleep(0)
        left = (self.config.timeout_graceful_shutdown or 1) - _CUT_SECONDS
        cutting = asyncio.get_running_loop().call_later(left, self._cut)
        try:
            await super().shutdown(sockets)
        finally:
            cutting.cancel()

    def _cut(self) -> None:
        for connection in list(self.server_state.connections):
            cast("Any", connection).transport.abort()

    async def _wait_for(self, draining: Awaitable[None]) -> None:
        began = time.monotonic()
        drained = asyncio.ensure_future(draining)
        while not (drained.done() or self.force_exit):
            await asyncio.wait([drained], timeout=_FORCE_SECONDS)
        drained.cancel()
        left = (self.config.timeout_graceful_shutdown or 1) - (time.monotonic() - began)
        self.config.timeout_graceful_shutdown = max(1, round(left))


def _first_free(host: str, port: int, tries: int) -> socket.socket:
    for candidate in range(port, port + tries - 1):
        with contextlib.suppress(PortTaken):
            return listening_socket(host, candidate)
    return listening_socket(host, port + tries - 1)


def _most_connections() -> int:
    """Return for how many clients there are descriptors, each with one connection upstream.

    The process's own bound is raised as far as it may: the usual 1024 are soon used up, and a
    server without a descriptor cannot even refuse.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MOST_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    descriptors = _MOST_DESCRIPTORS if soft == resource.RLIM_INFINITY else soft
    return max(1, (descriptors - _OTHER_DESCRIPTORS) // 2)


def _url(host: str, port: int) -> str:
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - compared, not bound
        host = socket.gethostname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
