"""A verdict that gives one of several labels."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from services.evaluator.judging.choices import holds_choice, is_torn, read_choice_line
from services.evaluator.judging.faults import Fault
from services.evaluator.judging.kinds.order import RULE_SCHEMA
from services.evaluator.judging.schemas import choice_schema, read_choice
from services.evaluator.judging.wording import Wording
from shared.protocol.evals.item import Verdict

_KEY = "label"
_RULE_CHOICE = "choice"


@dataclass(frozen=True, slots=True)
class Label:
    """One of `labels`; those of `passing` pass."""

    labels: tuple[str, ...]
    passing: frozenset[str]

    def schema(self) -> dict[str, Any]:
        """Return the schema: one of the labels."""
        return choice_schema(_KEY, self.labels)

    def schema_form(self, wording: Wording) -> tuple[str, str]:
        """Return how the label is given, and the object."""
        return self._how(wording), f'{{"reason": "...", "{_KEY}": "X"}}'

    def text_form(self, wording: Wording, mark: str) -> tuple[str, str]:
        """Return how the label is given, and the line."""
        return self._how(wording), wording.line_pair.replace("{mark}", mark)

    def from_object(self, told: dict[str, Any]) -> Verdict:
        """Return the label of an object."""
        return self._verdict(read_choice(told, _KEY, self.labels), RULE_SCHEMA)

    def from_text(self, text: str) -> Verdict:
        """Return the label that a text ends with."""
        if is_torn(text, self._words):
            return Verdict(rule=Fault.CONTRADICTORY)
        label = read_choice_line(text, self._words)
        return (
            Verdict(rule=Fault.UNREADABLE) if label is None else self._verdict(label, _RULE_CHOICE)
        )

    def said_in(self, passage: str) -> bool:
        """Return whether a passage gives a label."""
        return holds_choice(passage, self._words) or self.from_text(passage).decoded

    @property
    def _words(self) -> dict[str, str]:
        folded = {" ".join(label.casefold().split()): label for label in self.labels}
        # Labels that differ in case alone cannot be told apart in a text.
        return folded if len(folded) == len(self.labels) else {}

    def _how(self, wording: Wording) -> str:
        told = json.dumps(list(self.labels), ensure_ascii=False)
        return wording.how_label.replace("{labels}", told[1:-1])

    def _verdict(self, label: str, rule: str) -> Verdict:
        return Verdict(label=label, passed=label in self.passing, rule=rule)
