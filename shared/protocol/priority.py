"""The priority of a request: which class it is served in. Owns the header and its two values."""

from __future__ import annotations

from enum import IntEnum

from shared.errors import InvalidRequest

PRIORITY_HEADER = "x-llmzoo-priority"


class Priority(IntEnum):
    """Who is served first; within a class it is who came first."""

    INTERACTIVE = 0
    BATCH = 1

    @property
    def header(self) -> str:
        """The header's value."""
        return "batch" if self else "interactive"

    @classmethod
    def parse(cls, value: str | bytes | None) -> Priority:
        """Return the class that a header's value names; without the header it is interactive.

        Raises:
            InvalidRequest: there is no such class.
        """
        if not value:
            return cls.INTERACTIVE
        if isinstance(value, bytes):
            value = value.decode("latin-1")
        name = value.strip().upper()
        if name not in cls.__members__:
            names = " or ".join(each.name.lower() for each in cls)
            raise InvalidRequest(f"{PRIORITY_HEADER} is {names}, not '{value}'.")
        return cls[name]
