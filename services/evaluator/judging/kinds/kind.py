"""What a verdict can be: an order, scores, the better of two, a label.

One interface for how each is asked for and how it is read, so that prompts and readers know none
of them.
"""

from __future__ import annotations

from typing import Any, Protocol

from services.evaluator.judging.wording import Wording
from shared.protocol.evals.item import Verdict


class Kind(Protocol):
    """One kind of verdict for a known number of answers."""

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema of a verdict."""
        ...

    def schema_form(self, wording: Wording) -> tuple[str, str]:
        """Return how to fill in the JSON object, and the object with letters to fill in."""
        ...

    def text_form(self, wording: Wording, mark: str) -> tuple[str, str]:
        """Return how to fill in the last line, and the line with letters to fill in."""
        ...

    def from_object(self, told: dict[str, Any]) -> Verdict:
        """Return what an object says; raises Unreadable."""
        ...

    def from_text(self, text: str) -> Verdict:
        """Return what a text says; one that is not decoded names the reason as its rule."""
        ...

    def said_in(self, passage: str) -> bool:
        """Return whether a passage could be read as a verdict, or as a part of one."""
        ...
