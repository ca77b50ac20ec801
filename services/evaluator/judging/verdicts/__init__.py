"""Reading a judge's verdict in its text, strictly: one single reading, or none.

Owns all forms in which orders and scores are written. Knows no judge, prompt or question, and
never what a verdict ought to be.
"""

from services.evaluator.judging.verdicts.order import parse_order, read_order
from services.evaluator.judging.verdicts.readings import (
    OrderReading,
    OrderRule,
    ScoreReading,
    ScoreRule,
)
from services.evaluator.judging.verdicts.scores import parse_scores, read_scores

__all__ = [
    "OrderReading",
    "OrderRule",
    "ScoreReading",
    "ScoreRule",
    "parse_order",
    "parse_scores",
    "read_order",
    "read_scores",
]
