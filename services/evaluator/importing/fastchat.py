"""FastChat's `model_answer` and `model_judgment` files.

Owns their fields, and which rows say that something failed: `$ERROR$`, a score of -1, a winner
`error`. Such rows are kept as reviews without a verdict, or counted.
"""

from __future__ import annotations

from typing import Any, cast

from services.evaluator.importing.found import FoundAnswer
from services.evaluator.importing.rows import Row
from shared.protocol.evals.run import GivenAnswer, GivenReview
from shared.protocol.evals.spec import Rubric

ERROR = "$ERROR$"
_UNREAD = -1
_WINNERS = {"model_1": [1, 2], "model_2": [2, 1], "tie": [1, 1], "error": None}


def answer_of(row: Row) -> FoundAnswer:
    """Return the first choice's turns; its model is `model_id`."""
    choices: object = row.fields.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise row.fault("choices", "is no list of choices")
    first = Row(row.file, row.line, cast("dict[str, Any]", choices[0]))
    turns = first.texts("turns")
    answer = row.made(GivenAnswer, question_id=row.identity("question_id"), turns=turns)
    return FoundAnswer(row.text("model_id"), answer)


def failed(answer: GivenAnswer) -> bool:
    """Return whether FastChat got no answer."""
    return ERROR in answer.turns


def single_of(row: Row) -> GivenReview:
    """Return a judgment of one answer."""
    score = row.number("score")
    return row.made(
        GivenReview,
        question_id=row.identity("question_id"),
        dimension=_dimension(row),
        judge=_judge(row),
        lineup=[row.text("model")],
        scores=None if score == _UNREAD else [score],
        text=row.optional_text("judgment"),
    )


def pair_of(row: Row) -> list[GivenReview]:
    """Return both judgments of two answers: as they are named, and turned round."""
    first, second = row.text("model_1"), row.text("model_2")
    ranks = [_winner(row, name) for name in ("g1_winner", "g2_winner")]
    texts = [row.optional_text(name) for name in ("g1_judgment", "g2_judgment")]
    lineups = [[first, second], [second, first]]
    turned = ranks[1] and ranks[1][::-1]
    return [
        row.made(
            GivenReview,
            question_id=row.identity("question_id"),
            dimension=_dimension(row),
            judge=_judge(row),
            lineup=lineup,
            ranks=verdict,
            text=text,
        )
        for lineup, verdict, text in zip(lineups, [ranks[0], turned], texts, strict=True)
    ]


def rubric_of(name: str) -> Rubric:
    """Return the dimension that stands for the judgments of one turn."""
    number = name.removeprefix("turn-")
    return Rubric(name=name, criteria=f"How good the answer in turn {number} is.", low=1, high=10)


def _winner(row: Row, name: str) -> list[int] | None:
    winner = row.text(name)
    if winner not in _WINNERS:
        raise row.fault(name, f"is none of {', '.join(_WINNERS)}")
    return _WINNERS[winner]


def _dimension(row: Row) -> str:
    turn = row.number("turn") if "turn" in row.fields else 1.0
    if turn < 1 or not turn.is_integer():
        raise row.fault("turn", "is no number from 1 on")
    return f"turn-{int(turn)}"


def _judge(row: Row) -> str:
    judge: object = row.fields.get("judge")
    # The model, and the name of its prompt.
    return row.texts("judge")[0] if isinstance(judge, list) and judge else row.text("judge")
