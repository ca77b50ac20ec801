"""A verdict that scores each answer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from services.evaluator.judging.kinds.order import RULE_SCHEMA
from services.evaluator.judging.schemas import assistant_key, read_scores_object, scores_schema
from services.evaluator.judging.verdicts import read_scores
from services.evaluator.judging.wording import Wording
from services.evaluator.ranks import ranks_of
from shared.protocol.evals.item import Verdict

_NAME = (
    r"(?:assistant|answer|response|model|candidate|助手|回答)[\W_]*(?:[0-9]{1,2}|[a-z])(?![a-z0-9])"
)
_LABEL = re.compile(rf"\W*{_NAME}", re.IGNORECASE)
_TOLD = re.compile(
    rf"(?:{_NAME}|scores?|ratings?|grades?|result|评分|得分|分数)\W{{1,12}}[0-9]", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Scores:
    """A score between `low` and `high` for each of `answers`."""

    answers: int
    low: float
    high: float

    def schema(self) -> dict[str, Any]:
        """Return the schema: a number, or one for each answer."""
        return scores_schema(self.answers, self.low, self.high)

    def schema_form(self, wording: Wording) -> tuple[str, str]:
        """Return how a score is given, and the object."""
        if self.answers == 1:
            return wording.how_score, '{"reason": "...", "score": N}'
        places = ", ".join(f'"{assistant_key(place)}": N' for place in range(self.answers))
        return wording.how_scores, f'{{"reason": "...", "scores": {{{places}}}}}'

    def text_form(self, wording: Wording, mark: str) -> tuple[str, str]:
        """Return how scores are given, and the line."""
        if self.answers == 1:
            return wording.how_score, wording.line_score.replace("{mark}", mark)
        places = " ".join("N" * self.answers)
        line = wording.line_scores.replace("{mark}", mark).replace("{places}", places)
        return wording.how_scores, line

    def from_object(self, told: dict[str, Any]) -> Verdict:
        """Return the scores of an object."""
        return self.verdict(
            read_scores_object(told, self.answers, self.low, self.high), RULE_SCHEMA
        )

    def from_text(self, text: str) -> Verdict:
        """Return the scores that a text tells."""
        reading = read_scores(text, self.answers, self.low, self.high)
        if reading.scores is None:
            return Verdict(rule=reading.rule.value)
        return self.verdict(list(reading.scores), reading.rule.value)

    @staticmethod
    def verdict(scores: list[float], rule: str) -> Verdict:
        """Return scores with the ranks that they make."""
        return Verdict(scores=scores, ranks=ranks_of(scores), rule=rule)

    def said_in(self, passage: str) -> bool:
        """Return whether a passage tells scores, or that of one of several answers."""
        if _TOLD.search(passage):
            return True
        label = _LABEL.match(passage)
        rest = passage[label.end() :] if label else passage
        if not any(character.isdigit() for character in rest):
            return False
        return any(
            read_scores(part, count, self.low, self.high).scores is not None
            for part in {passage, rest}
            for count in {1, self.answers}
        )
