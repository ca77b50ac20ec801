"""Asks a service whether it is ready, over its own socket.

Owns one HTTP request and one Redis ping, written by hand: a client library costs the supervisor
a quarter of a second of CPU while the services need it, and only `shared.registry` may speak
Redis for real. Knows nothing of processes.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

ANSWER_LIMIT_BYTES = 1 << 20
ANSWER_TIMEOUT_SECONDS = 5.0
OK_STATUS = 200


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether a service is ready, and what it is doing when it is not."""

    ready: bool
    detail: str = ""
    pid: int = 0
    """Of the process that answered; 0 where it does not tell."""
    waits: bool = False
    """Whether it waits for what another service holds, as a worker for a GPU."""


STARTING = Readiness(ready=False, detail="starting")

Probe: TypeAlias = Callable[[], Awaitable[Readiness]]
Connection: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Silence(Exception):
    """Nobody listens, or what came back was no answer."""


def http_probe(host: str, port: int) -> Probe:
    """Return a probe of `GET /health/ready`."""

    async def ask() -> Readiness:
        try:
            status, body = await http_get(host, port, "/health/ready")
        except Silence:
            return STARTING
        return read(status, body)

    return ask


async def http_get(host: str, port: int, path: str) -> tuple[int, bytes]:
    """Return status and body of one GET; raises Silence."""
    # HTTP/1.0: the answer is neither chunked nor kept alive.
    request = f"GET {path} HTTP/1.0\r\nHost: {host}:{port}\r\nAccept: application/json\r\n\r\n"
    answer = await _exchange(asyncio.open_connection(host, port), request.encode(), to_end=True)
    head, _, body = answer.partition(b"\r\n\r\n")
    try:
        return int(head.split(b" ", 2)[1]), body
    except (IndexError, ValueError) as error:
        raise Silence from error


def read(status: int, body: bytes) -> Readiness:
    """Return what an answer of `/health/ready` says, state and progress in a few words."""
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    told = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
    words = str(told.get("state") or told.get("status") or "")
    progress = told.get("progress")
    if isinstance(progress, int | float):
        words += f" {progress:.0%}"
    reason = told.get("detail")
    pid = told.get("pid")
    return Readiness(
        status == OK_STATUS,
        f"{words}: {reason}" if reason else words,
        pid if isinstance(pid, int) else 0,
        told.get("waits") is True,
    )


def redis_probe(address: str | int, password: str) -> Probe:
    """Return a probe of a Redis server on a socket path or a loopback port."""

    async def ask() -> Readiness:
        opening = (
            asyncio.open_unix_connection(address)
            if isinstance(address, str)
            else asyncio.open_connection("127.0.0.1", address)
        )
        try:
            answer = await _exchange(opening, f"AUTH {password}\r\nPING\r\n".encode(), to_end=False)
        except Silence:
            return STARTING
        loading = b"-LOADING" in answer
        return Readiness(ready=b"+PONG" in answer, detail="loading its data" if loading else "")

    return ask


def _whole(answer: bytes) -> bool:
    """Return whether an answer is there by its own length; some keep the connection open."""
    head, end, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
    return bool(end) and length is not None and len(body) >= int(length[1])


async def _exchange(opening: Awaitable[Connection], request: bytes, *, to_end: bool) -> bytes:
    """Send `request`; read the answer, as one of HTTP `to_end`, or two lines of it."""
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_SECONDS):
            reader, writer = await opening
            writer.write(request)
            await writer.drain()
            if not to_end:
                return await reader.readline() + await reader.readline()
            answer = b""
            while len(answer) < ANSWER_LIMIT_BYTES and not _whole(answer):
                if not (part := await reader.read(65536)):
                    break
                answer += part
            return answer
    except (OSError, TimeoutError, ValueError) as error:
        raise Silence from error
    finally:
        if writer is not None:
            writer.close()
