"""A verdict that puts answers in order."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from services.evaluator.judging.schemas import assistant_key, ranks_schema, read_ranks
from services.evaluator.judging.verdicts import read_order
from services.evaluator.judging.wording import Wording
from shared.protocol.evals.item import Verdict

RULE_SCHEMA = "schema"
_SHORT = 3
"""So many answers are a whole chain of the form that is shown."""
_NAMED = re.compile(
    r"(?i:assistant|answer|response|model|candidate|助手|回答)\s*#?(?:[0-9]{1,2}|[A-Z])(?![\w])\s*\S"
    r"|\S\s*(?i:assistant|answer|response|model|candidate|助手|回答)\s*#?(?:[0-9]{1,2}|[A-Z])(?![\w])"
)


@dataclass(frozen=True, slots=True)
class Order:
    """An order of `answers`, ties allowed."""

    answers: int

    def schema(self) -> dict[str, Any]:
        """Return the schema: a rank for each answer."""
        return ranks_schema(self.answers)

    def schema_form(self, wording: Wording) -> tuple[str, str]:
        """Return how a rank is given, and the object."""
        places = ", ".join(f'"{assistant_key(place)}": N' for place in range(self.answers))
        return wording.schema_order, f'{{"reason": "...", "ranks": {{{places}}}}}'

    def text_form(self, wording: Wording, mark: str) -> tuple[str, str]:
        """Return how a chain is written, and the line."""
        first, second, third = (wording.line_link.replace("{letter}", each) for each in "XYZ")
        chain = f"{first} > {second}"
        if self.answers >= _SHORT:
            chain += f" = {third}" + (" > ..." if self.answers > _SHORT else "")
        line = wording.line_order.replace("{mark}", mark).replace("{chain}", chain)
        return wording.how_order, line

    def from_object(self, told: dict[str, Any]) -> Verdict:
        """Return the order of an object's ranks."""
        return Verdict(ranks=read_ranks(told, self.answers), rule=RULE_SCHEMA)

    def from_text(self, text: str) -> Verdict:
        """Return the order that a text tells."""
        reading = read_order(text, self.answers)
        ranks = None if reading.ranks is None else list(reading.ranks)
        return Verdict(ranks=ranks, rule=reading.rule.value, confidence=reading.confidence)

    def said_in(self, passage: str) -> bool:
        """Return whether a passage tells an order, or says something of an answer."""
        return speaks_of_answers(passage) or read_order(passage, self.answers).ranks is not None


def speaks_of_answers(passage: str) -> bool:
    """Return whether a passage says something of an answer that it names."""
    return _NAMED.search(passage) is not None
