"""How servers of one kind are treated: workers, evaluators, endpoints.

Owns the manners of a pool's connections, and the plain way to open one. Knows no exchange.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from services.controller.upstream.connection import Connection
from services.controller.upstream.origin import Origin

Opened = tuple[asyncio.BaseTransport, Connection]
Dial = Callable[[Callable[[], Connection], Origin], Awaitable[Opened]]
"""Opens a connection; raises OSError when there is none, or an error of its own."""


async def dial_host(make: Callable[[], Connection], origin: Origin) -> Opened:
    """Connect to whatever the host's name means."""
    return await asyncio.get_running_loop().create_connection(
        make, origin.host, origin.port, ssl=True if origin.tls else None
    )


@dataclass(frozen=True, slots=True)
class Peer:
    """One kind of server.

    Attributes:
        name: the subject of an error's sentence.
        idle_seconds: how long an unused connection is kept; shorter than the server keeps it,
            so that a stale one is rare.
        resends: whether a request is sent again when a connection used before closes without a
            byte of an answer. It may have been executed: not for calls that cost money.
        unframed: whether an answer may end with its connection.
        dial: how a connection is opened.
    """

    name: str
    idle_seconds: float = 20.0
    resends: bool = True
    unframed: bool = False
    dial: Dial = dial_host


WORKER = Peer("The worker")
EVALUATOR = Peer("The evaluator")
