"""What a judge's text was read as, and by which rule; or why it was not read."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


class OrderRule(StrEnum):
    """How an order was read; from NO_ORDER on: why it was not."""

    JSON = "json"
    CHAIN = "chain"
    PARTIAL_CHAIN = "partial_chain"
    SPACED_CHAIN = "spaced_chain"
    BRACKETS = "brackets"
    LIST = "list"
    LABELLED = "labelled"
    PROSE_EQUAL = "prose_equal"
    PROSE_GROUPED = "prose_grouped"
    PROSE_PAIR = "prose_pair"
    NO_ORDER = "no_order"
    UNREADABLE = "unreadable"
    CONTRADICTORY = "contradictory"


class ScoreRule(StrEnum):
    """How scores were read; from NO_SCORE on: why they were not."""

    JSON = "json"
    KEYED = "keyed_line"
    LABELLED = "labelled"
    BARE = "bare_line"
    NO_SCORE = "no_score"
    WRONG_COUNT = "wrong_count"
    OUT_OF_RANGE = "out_of_range"
    UNREADABLE = "unreadable"
    CONTRADICTORY = "contradictory"


PROSE = frozenset({OrderRule.PROSE_EQUAL, OrderRule.PROSE_GROUPED, OrderRule.PROSE_PAIR})
"""Rules that read sentences, not a form that was asked for."""


@dataclass(frozen=True, slots=True)
class OrderReading:
    """What a judge's text says; `ranks` is None when it is undecoded."""

    ranks: tuple[int, ...] | None
    """Competition ranks (1, 2, 2, 4), 1 is best, in the order of the answers."""
    rule: OrderRule

    @property
    def confidence(self) -> Literal["high", "low"]:
        """Return how sure the rule is: sentences can be worded in ways that no rule foresees."""
        return "low" if self.rule in PROSE else "high"


@dataclass(frozen=True, slots=True)
class ScoreReading:
    """What a judge's text says; `scores` is None when it is undecoded."""

    scores: tuple[float, ...] | None
    rule: ScoreRule
