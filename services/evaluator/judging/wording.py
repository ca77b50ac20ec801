"""What judges are told beside the criteria, in the question's language, read from `wording.toml`.

Owns the file's shape and which language a question is judged in.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import Any

_PACKAGE, _FILE = "services.evaluator.judging", "wording.toml"


class Language(StrEnum):
    """The languages of prompts."""

    ENGLISH = "en"
    CHINESE = "zh"


@dataclass(frozen=True, slots=True)
class Wording:
    """Everything that is said in one language; fields are the file's names."""

    system: str
    ordering: str
    scoring: str
    solo: str
    pairwise: str
    scale: str
    fairness: str
    ties: str
    """One more of the rules of fairness, where answers are compared."""
    references: str
    references_of_turns: str
    material: str
    question: str
    context: str
    reference: str
    answer: str
    user_turn: str
    reply_turn: str
    end: str
    empty: str
    cut: str
    reason: str
    form_text: str
    how_order: str
    how_score: str
    how_scores: str
    how_pair: str
    how_label: str
    line_order: str
    line_link: str
    line_score: str
    line_scores: str
    line_pair: str
    form_schema: str
    schema_order: str
    again: str
    faults: dict[str, str]

    def fault(self, rule: str) -> str:
        """Return what was wrong with a reply that `rule` left unread."""
        return self.faults.get(rule, self.faults["unreadable"])


def language_of(tag: str | None) -> Language:
    """Return the language of the prompt for a question in the language `tag`."""
    primary = (tag or "").replace("_", "-").split("-")[0].casefold()
    return Language.CHINESE if primary in {"zh", "cmn", "chinese"} else Language.ENGLISH


def wording_in(language: Language) -> Wording:
    """Return what judges are told in `language`."""
    return _load()[language]


@cache
def _load() -> dict[Language, Wording]:
    told = tomllib.loads((files(_PACKAGE) / _FILE).read_text(encoding="utf-8"))
    return {language: Wording(**_stripped(told[language])) for language in Language}


def _stripped(table: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value.strip() if isinstance(value, str) else value for name, value in table.items()
    }
