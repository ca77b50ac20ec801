"""What stands in Redis of answers and reviews: the shapes, and how they are written.

Owns the stored form: a JSON list, compressed where it is long. Plain dataclasses without
validation, since they are written and read once an item, and by this module alone.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import Any

import orjson

from shared.protocol.evals.item import ItemError, ItemStatus, Verdict
from shared.protocol.evals.run import CallUsage

_LONG = 2048
_PLAIN, _PACKED = b"=", b"z"


@dataclass(frozen=True, slots=True)
class Used:
    """What the calls of one unit used; money in millionths of a millionth of a dollar.

    A whole number, so that a sum does not depend on the order in which units end.
    """

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: int = 0
    repeats: int = 0
    """Calls that may have been made beside these, with no answer."""

    def __add__(self, other: Used) -> Used:
        """Return both together."""
        return Used(
            self.calls + other.calls,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cost + other.cost,
            self.repeats + other.repeats,
        )

    def told(self) -> CallUsage:
        """Return what the API tells."""
        return CallUsage(
            calls=self.calls,
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            cost_usd=dollars(self.cost),
        )


def picodollars(cost_usd: float) -> int:
    """Return an amount of money as it is counted."""
    return round(cost_usd * 1e12)


def dollars(picodollars: int) -> float:
    """Return an amount of money as it is told."""
    return picodollars / 1e12


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """A candidate's answer to one question; with an error, `turns` are those before it."""

    turns: tuple[str, ...]
    finish_reason: str = ""
    usage: Used = field(default_factory=Used)
    error: ItemError | None = None
    model_version: str = ""
    seconds: float | None = None
    """How long its calls took together; None if that of one is not known."""

    def encode(self) -> bytes:
        """Return the stored form."""
        error = self.error and self.error.model_dump()
        usage = _usage(self.usage)
        told = [self.turns, self.finish_reason, usage, error, self.model_version, self.seconds]
        return pack(told)

    @classmethod
    def decode(cls, stored: bytes) -> StoredAnswer:
        """Return what `encode` wrote."""
        # Answers that were stored by an earlier version have no time.
        turns, finish_reason, usage, error, version, *seconds = unpack(stored)
        return cls(
            turns=tuple(turns),
            finish_reason=finish_reason,
            usage=Used(*usage),
            error=ItemError.model_construct(**error) if error else None,
            model_version=version,
            seconds=seconds[0] if seconds else None,
        )


@dataclass(frozen=True, slots=True)
class StoredResult:
    """How a review ended."""

    status: ItemStatus
    verdict: Verdict | None = None
    judge_text: str | None = None
    error: ItemError | None = None
    usage: Used = field(default_factory=Used)
    model_version: str = ""

    def encode(self) -> bytes:
        """Return the stored form."""
        return pack(
            [
                self.status.value,
                self.verdict and dict(self.verdict),
                self.judge_text,
                self.error and dict(self.error),
                _usage(self.usage),
                self.model_version,
            ]
        )

    @classmethod
    def decode(cls, stored: bytes) -> StoredResult:
        """Return what `encode` wrote."""
        status, verdict, text, error, usage, version = unpack(stored)
        return cls(
            status=ItemStatus(status),
            verdict=Verdict.model_construct(**verdict) if verdict else None,
            judge_text=text,
            error=ItemError.model_construct(**error) if error else None,
            usage=Used(*usage),
            model_version=version,
        )


def _usage(usage: Used) -> list[int]:
    return [
        usage.calls,
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.cost,
        usage.repeats,
    ]


def pack(content: Any) -> bytes:
    """Return `content` as JSON, compressed if it is long."""
    return pack_bytes(orjson.dumps(content))


def unpack(stored: bytes) -> Any:
    """Return what was packed."""
    return orjson.loads(unpack_bytes(stored))


def pack_bytes(content: bytes) -> bytes:
    """Return `content`, compressed if it is long."""
    return _PLAIN + content if len(content) <= _LONG else _PACKED + zlib.compress(content, 1)


def unpack_bytes(stored: bytes) -> bytes:
    """Return what was packed."""
    return zlib.decompress(stored[1:]) if stored[:1] == _PACKED else stored[1:]
