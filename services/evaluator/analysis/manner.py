"""How candidates answer, whatever the answers are worth: refusals, their language, their pace.

No judge and no reference is needed. What cannot be told of an answer leaves it out of the figure,
and the figure says of how many.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from services.evaluator.analysis.bootstrap import Bootstrap
from services.evaluator.analysis.figures import SHARE, ratio, ratios
from services.evaluator.analysis.languages import Identify, code_of
from services.evaluator.analysis.refusals import is_refusal
from services.evaluator.analysis.rows import AnswerRow
from shared.protocol.evals.results import Figure


def refusal_rate(answers: Sequence[AnswerRow], bootstrap: Bootstrap) -> Figure:
    """Return the share of answers that open with a phrase of refusal."""
    hits = [is_refusal(answer.turns or (answer.text,)) for answer in answers]
    return ratio(np.array(hits, dtype=np.float64), np.ones(len(hits)), bootstrap, bounds=SHARE)


def language_match(
    answers: Sequence[AnswerRow], identify: Identify, bootstrap: Bootstrap
) -> Figure:
    """Return the share of answers that are in the language of their question.

    That which the question states, else that in which it is written. Answers whose language, or
    whose question's, cannot be told are left out and counted as undecoded.
    """
    asked: dict[str, str | None] = {}
    matches: list[bool | None] = []
    for answer in answers:
        if answer.question not in asked:
            asked[answer.question] = _asked_in(answer, identify)
        matches.append(_matches(asked[answer.question], answer.text, identify))
    told = np.array([match is not None for match in matches], dtype=np.float64)
    hits = np.array([match is True for match in matches], dtype=np.float64)
    return ratio(hits, told, bootstrap, bounds=SHARE, undecoded=matches.count(None))


def pace(answers: Sequence[AnswerRow], bootstrap: Bootstrap) -> dict[str, Figure]:
    """Return the mean seconds that an answer took, and the tokens that came in a second.

    Answers that were there already, or that the gateway told again, have no time.
    """
    timed = [(answer.seconds, answer.tokens) for answer in answers if answer.seconds]
    seconds, tokens = np.array(timed, dtype=np.float64).reshape(len(timed), 2).T
    undecoded = len(answers) - len(timed)
    rate = ratios(
        tokens[:, None],
        seconds[:, None],
        bootstrap,
        n=np.array([float(len(timed))]),
        undecoded=np.array([float(undecoded)]),
    )[0]
    mean = ratio(seconds, np.ones(len(timed)), bootstrap, undecoded=undecoded)
    return {"seconds": mean, "tokens_per_second": rate}


def _asked_in(answer: AnswerRow, identify: Identify) -> str | None:
    return identify(answer.asked) if answer.language is None else code_of(answer.language)


def _matches(asked: str | None, text: str, identify: Identify) -> bool | None:
    if asked is None:
        return None
    found = identify(text)
    return None if found is None else found == asked
