"""One finding of `llmzoo doctor`: what was looked at, how it stands, what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """How a finding stands."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """A finding; `fix` says what to do and is empty when all is well."""

    name: str
    status: Status
    found: str
    fix: str = ""
