"""The conversation and vote log: JSON lines, one file a day, append-only.

Owns the form of a line (LLMZoo's fields and a few more) and how it reaches the disk: one
write on a file opened for appending, so that concurrent writers never mix their lines.
Texts are written only when asked for; an address is written as a keyed hash with a secret of
this installation. A disk that fails never stops a chat: the failure is counted and logged.
Days are UTC days.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import orjson
import structlog

from services.webui.metrics import WebuiMetrics
from shared.templates.messages import Message

log = structlog.get_logger(__name__)

VoteKind = Literal["upvote", "downvote", "flag"]

_SALT_FILE = "address-salt"
_SALT_BYTES = 32
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Exchange:
    """What a line tells of: one answer in its conversation, and who asked for it."""

    conv_id: str
    model: str
    system: str
    messages: Sequence[Message]
    address: str
    request_id: str = ""
    template: str | None = None  # the worker renders it; a page does not learn its name


def _now() -> datetime:
    return datetime.now(UTC)


class ConversationLog:
    """Appends lines to today's file."""

    def __init__(
        self,
        folder: Path,
        metrics: WebuiMetrics,
        *,
        with_texts: bool,
        clock: Callable[[], datetime] = _now,
    ) -> None:
        """Prepare; the folder is made by the first line.

        Args:
            folder: where the files lie; made with mode 0700.
            metrics: where failures are counted.
            with_texts: whether texts are written; without, only their lengths are.
            clock: returns the time now, with a zone.
        """
        self._folder = folder
        self._metrics = metrics
        self._with_texts = with_texts
        self._clock = clock
        self._salt = b""
        self._broken_line = False

    async def chat(
        self,
        exchange: Exchange,
        *,
        gen_params: dict[str, Any],
        finish_reason: str,
        start: datetime,
        finish: datetime,
    ) -> None:
        """Log one answer; `finish` is when its last piece came."""
        await self._append(
            "chat",
            exchange,
            {
                "gen_params": gen_params,
                "start": start.timestamp(),
                "finish": finish.timestamp(),
                "finish_reason": finish_reason,
            },
        )

    async def vote(self, kind: VoteKind, exchange: Exchange) -> None:
        """Log one vote on the last answer of the exchange."""
        await self._append(kind, exchange, {})

    async def _append(self, kind: str, exchange: Exchange, more: dict[str, Any]) -> None:
        now = self._clock()
        try:
            await asyncio.to_thread(self._write, kind, exchange, more, now)
        except OSError as fault:
            self._metrics.log_failures.inc()
            log.error(  # noqa: TRY400 - the errno says it all; a traceback per line would flood
                "conversation log not written", folder=str(self._folder), fault=str(fault)
            )

    def _write(self, kind: str, exchange: Exchange, more: dict[str, Any], now: datetime) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        line = {
            "tstamp": now.timestamp(),
            "type": kind,
            "model": exchange.model,
            **more,
            "state": self._state(exchange),
            "ip": self._hashed(exchange.address),
            "conv_id": exchange.conv_id,
            "request_id": exchange.request_id or None,
            "template": exchange.template,
        }
        path = self._folder / f"{now.astimezone(UTC):%Y-%m-%d}-conv.json"
        # A line that a full disk cut short is closed first, so that it spoils no other.
        data = b"\n" * self._broken_line + orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
        descriptor = os.open(path, _APPEND, 0o600)
        try:
            written = os.write(descriptor, data)
        finally:
            os.close(descriptor)
        self._broken_line = written < len(data)
        if self._broken_line:
            msg = f"only {written} of {len(data)} bytes were written"
            raise OSError(msg)

    def _state(self, exchange: Exchange) -> dict[str, Any]:
        texts = self._with_texts
        return {
            "system": exchange.system if texts else None,
            "roles": ["user", "assistant"],
            "messages": [
                [message.role, message.text if texts else None] for message in exchange.messages
            ],
            "lengths": [len(message.text) for message in exchange.messages],
            "offset": 0,
            "sep": None,
        }

    def _hashed(self, address: str) -> str:
        if not self._salt:
            self._salt = _kept_salt(self._folder / _SALT_FILE)
        return hmac.new(self._salt, address.encode(), hashlib.sha256).hexdigest()[:32]


def _kept_salt(path: Path) -> bytes:
    """Return the installation's secret, made at first use; one writer wins."""
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    if not path.exists():
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(descriptor, secrets.token_bytes(_SALT_BYTES))
        finally:
            os.close(descriptor)
        try:
            with suppress(FileExistsError):
                os.link(fresh, path)
        finally:
            fresh.unlink()
    return path.read_bytes()
