"""A score as the mean over what the judge might have written in its place.

Owns how token likelihoods become an expected score. Whatever does not fit together (another
text, a number in several pieces, likelihoods that are none) leaves the written score.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from services.evaluator.ranks import ranks_of
from shared.protocol.evals.item import Verdict

RULE_SUFFIX = "+logprobs"

_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_VALUE = re.compile(rf'"(?:score|assistant_[0-9]{{1,2}})"\s*:\s*({_NUMBER})')
_PLAIN_NUMBER = re.compile(rf"(?<![\w.-])({_NUMBER})(?![\w/])")
_WHOLE = re.compile(r"[0-9]{1,4}")
_ENOUGH = 0.5
"""Less than this share of likelihood on scores says little of the score."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """One token that the judge wrote, and what it might have written."""

    text: str
    start: int
    others: Mapping[str, float]


def likely_scores(
    verdict: Verdict, reply: str, logprobs: Sequence[Any], low: float, high: float
) -> Verdict:
    """Return `verdict` with each score as the expected one, as far as the likelihoods tell it.

    Args:
        verdict: with scores, as they were read in `reply`.
        reply: the judge's text.
        logprobs: one entry a token: `token`, `top_logprobs`.
        low: the least score.
        high: the highest score.
    """
    scores = verdict.scores or []
    pieces = _pieces(reply, logprobs)
    places = _places(reply, scores)
    if pieces is None or places is None:
        return verdict
    expected = [
        _expected(pieces, place, score, low, high)
        for place, score in zip(places, scores, strict=True)
    ]
    if all(value is None for value in expected):
        return verdict
    likely = [
        score if value is None else value for value, score in zip(expected, scores, strict=True)
    ]
    rule = verdict.rule + RULE_SUFFIX
    return verdict.model_copy(update={"scores": likely, "ranks": ranks_of(likely), "rule": rule})


def _places(reply: str, scores: Sequence[float]) -> list[int] | None:
    """Return where in `reply` the scores are written: in JSON, or on the last line."""
    found = list(_VALUE.finditer(reply))[-len(scores) :]
    if len(found) != len(scores):
        start = reply.rstrip().rfind("\n") + 1
        found = list(_PLAIN_NUMBER.finditer(reply, start))
    if [float(number[1]) for number in found] != list(scores):
        return None
    return [number.start(1) for number in found]


def _pieces(reply: str, logprobs: Sequence[Any]) -> list[_Piece] | None:
    told = [cast("dict[str, Any]", entry) for entry in logprobs if isinstance(entry, dict)]
    texts = [entry.get("token") for entry in told]
    if not all(isinstance(text, str) for text in texts):
        return None
    words = cast("list[str]", texts)
    shift = "".join(words).find(reply)
    if shift < 0:
        return None
    pieces: list[_Piece] = []
    place = -shift
    for text, entry in zip(words, told, strict=True):
        pieces.append(_Piece(text, place, _likelihoods(entry.get("top_logprobs"))))
        place += len(text)
    return pieces


def _likelihoods(told: Any) -> dict[str, float]:
    """Return the likelihood of each token that is a whole number or begins one."""
    likely: dict[str, float] = {}
    for entry in cast("list[Any]", told) if isinstance(told, list) else []:
        if not isinstance(entry, dict):
            continue
        other = cast("dict[str, Any]", entry)
        token, logprob = other.get("token"), other.get("logprob")
        if not isinstance(token, str) or not isinstance(logprob, int | float):
            continue
        number = token.strip()
        if logprob <= 0 and _WHOLE.fullmatch(number):
            likely[number] = likely.get(number, 0.0) + math.exp(logprob)
    return likely


def _expected(
    pieces: Sequence[_Piece], place: int, score: float, low: float, high: float
) -> float | None:
    """Return the mean over the numbers that the judge might have begun at `place`."""
    index = next((i for i, piece in enumerate(pieces) if piece.start + len(piece.text) > place), -1)
    if index < 0:
        return None
    piece = pieces[index]
    written = piece.text.strip()
    after = pieces[index + 1].text if index + 1 < len(pieces) else ""
    whole = written == f"{score:g}" and not re.match(r"[0-9]|\.[0-9]", after)
    if not whole or written not in piece.others:
        return None
    values = {
        float(number): chance
        for number, chance in piece.others.items()
        if low <= float(number) <= high and not _may_go_on(number, piece, high)
    }
    mass = sum(values.values())
    if score not in values or mass < _ENOUGH:
        return None
    return sum(value * chance for value, chance in values.items()) / mass


def _may_go_on(number: str, piece: _Piece, high: float) -> bool:
    """Return whether a token may be only the beginning of a longer score.

    A tokenizer that has numbers of two digits shows one; without it `1` may become 10.
    """
    longer = any(len(other) > 1 for other in piece.others)
    return number not in {"0", piece.text.strip()} and not longer and float(number) * 10 <= high
