"""What a pass over a request found: all of its faults, and the models that it names.

Owns JSON pointers (RFC 6901) and the bound on how many faults are told. Knows no shape.
"""

from __future__ import annotations

from shared.errors import InvalidSpec

MAX_FAULTS = 100
"""Faults told in one answer; more of them would repeat themselves."""
_LONGEST_PART = 64

Fault = tuple[str, str]
"""JSON pointer and text."""


class Findings:
    """Grows while a body is read; nothing of the body but its keys and ids gets in."""

    def __init__(self) -> None:
        """Begin with none."""
        self.models: list[tuple[str, str]] = []
        """Where a model is named, and its name: to be asked for in the fleet."""
        self._faults: list[Fault] = []
        self._more = 0

    def __bool__(self) -> bool:
        """Return whether there is a fault."""
        return bool(self._faults)

    @property
    def full(self) -> bool:
        """Return whether no more faults are told."""
        return len(self._faults) >= MAX_FAULTS

    def add(self, pointer: str, text: str) -> None:
        """Note a fault; of those beyond the bound only how many there are."""
        if len(self._faults) < MAX_FAULTS:
            self._faults.append((pointer, text))
        else:
            self._more += 1

    def raise_if_any(self) -> None:
        """Raise InvalidSpec with all faults."""
        if self._faults:
            more = [("", f"and {self._more} more faults")] if self._more else []
            raise InvalidSpec([*self._faults, *more])


def child(pointer: str, *parts: int | str) -> str:
    """Return the pointer of what lies below; a client's long key is cut."""
    return pointer + "".join(f"/{_escaped(part)}" for part in parts)


def listed(ids: list[str], most: int = 10) -> str:
    """Return ids for a fault's text, not too many of them."""
    shown = ", ".join(repr(each) for each in ids[:most])
    return f"{shown} and {len(ids) - most} more" if len(ids) > most else shown


def _escaped(part: int | str) -> str:
    return str(part)[:_LONGEST_PART].replace("~", "~0").replace("/", "~1")
