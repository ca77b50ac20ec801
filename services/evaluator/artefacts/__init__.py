"""LLMZoo's files as its scripts write them, byte for byte, with their figures as they were.

Owns what is compatible and nothing else: corrected figures, intervals and ties are `analysis`'s.
Knows no store and no service, and imports neither numpy nor anything that needs it.
"""

from services.evaluator.artefacts.legacy_order import legacy_order
from services.evaluator.artefacts.metric import metric_json
from services.evaluator.artefacts.ordering import ordering_txt
from services.evaluator.artefacts.rows import (
    CandidateAnswer,
    LegacyReview,
    ReviewedQuestion,
    answer_rows,
    as_jsonl,
    legacy_reviews,
    review_rows,
)

__all__ = [
    "CandidateAnswer",
    "LegacyReview",
    "ReviewedQuestion",
    "answer_rows",
    "as_jsonl",
    "legacy_order",
    "legacy_reviews",
    "metric_json",
    "ordering_txt",
    "review_rows",
]
