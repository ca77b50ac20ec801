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
    """A finding; `fix` says what to do and is empty when all is well.

    Commands in `fix` that belong together stand on lines of their own.
    """

    name: str
    status: Status
    found: str
    fix: str = ""


def ok(name: str, found: str) -> Check:
    """Return the finding that something is well."""
    return Check(name, Status.OK, found)


def warn(name: str, found: str, fix: str) -> Check:
    """Return the finding that something works, and not well."""
    return Check(name, Status.WARN, found, fix)


def fail(name: str, found: str, fix: str) -> Check:
    """Return the finding that something does not work."""
    return Check(name, Status.FAIL, found, fix)
