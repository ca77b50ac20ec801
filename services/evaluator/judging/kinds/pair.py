"""A verdict that names the better of two answers, or a tie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from services.evaluator.judging.faults import Fault
from services.evaluator.judging.kinds.order import RULE_SCHEMA, speaks_of_answers
from services.evaluator.judging.schemas import choice_schema, read_choice
from services.evaluator.judging.verdicts import read_order
from services.evaluator.judging.winners import RANKS, is_undecided, names_winner, read_winner
from services.evaluator.judging.wording import Wording
from shared.protocol.evals.item import Verdict

_KEY = "better"
_RULE_CHOICE = "choice"


@dataclass(frozen=True, slots=True)
class Pair:
    """The better of two, called A and B."""

    def schema(self) -> dict[str, Any]:
        """Return the schema: one of A, B and tie."""
        return choice_schema(_KEY, list(RANKS))

    def schema_form(self, wording: Wording) -> tuple[str, str]:
        """Return how the choice is given, and the object."""
        return wording.how_pair, f'{{"reason": "...", "{_KEY}": "X"}}'

    def text_form(self, wording: Wording, mark: str) -> tuple[str, str]:
        """Return how the choice is given, and the line."""
        return wording.how_pair, wording.line_pair.replace("{mark}", mark)

    def from_object(self, told: dict[str, Any]) -> Verdict:
        """Return the choice of an object."""
        return _verdict(read_choice(told, _KEY, list(RANKS)), RULE_SCHEMA)

    def from_text(self, text: str) -> Verdict:
        """Return the choice that a text ends with, or the order of two that it tells."""
        if is_undecided(text):
            return Verdict(rule=Fault.CONTRADICTORY)
        if (winner := read_winner(text)) is not None:
            return _verdict(winner, _RULE_CHOICE)
        reading = read_order(text, len(RANKS["A"]))
        for label, ranks in RANKS.items():
            if reading.ranks == tuple(ranks):
                return _verdict(label, reading.rule.value, low=reading.confidence == "low")
        return Verdict(rule=reading.rule.value)

    def said_in(self, passage: str) -> bool:
        """Return whether a passage tells the better one, or says something of one."""
        named = speaks_of_answers(passage) or names_winner(passage)
        return named or self.from_text(passage).decoded


def _verdict(label: str, rule: str, *, low: bool = False) -> Verdict:
    confidence = "low" if low else "high"
    return Verdict(label=label, ranks=RANKS[label], rule=rule, confidence=confidence)
