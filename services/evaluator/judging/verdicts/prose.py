"""The verdict in a text's sentences: which of them count, and what they say together.

The last sentence that announces a verdict counts, with all that follow it; without one, the last
few do. Whatever counts must fit together and leave a single ranking.
"""

from __future__ import annotations

from dataclasses import dataclass

from services.evaluator.judging.verdicts.comparisons import comparisons
from services.evaluator.judging.verdicts.context import Cue, conditional, cue_of
from services.evaluator.judging.verdicts.eastern import eastern
from services.evaluator.judging.verdicts.equality import equalities
from services.evaluator.judging.verdicts.grades import behind_equals, graded, sequence
from services.evaluator.judging.verdicts.ranking import Relations
from services.evaluator.judging.verdicts.readings import OrderReading, OrderRule
from services.evaluator.judging.verdicts.sentences import Sentences
from services.evaluator.judging.verdicts.subjects import with_subjects

_COUNTED = 12
"""Sentences from the end, at most, in which an announced verdict may stand."""
_UNANNOUNCED = 2
_LONGEST = 1500
"""Characters; what is longer is no sentence."""


@dataclass(frozen=True, slots=True)
class _Said:
    text: str
    cue: Cue
    relations: Relations


def read_prose(sentences: Sentences, n: int) -> OrderReading | None:
    """Return what the sentences at the end say; None: nothing of an order."""
    last = sentences.spans[-_COUNTED:]
    said = [_said(sentences.text[start:end].strip(), n) for start, end in last]
    begin = _beginning(said)
    for start in dict.fromkeys((begin, max(0, begin - 1))):
        counted = said[start:]
        together = _together(counted, n)
        if not together:
            continue
        if together.contradict(n):
            return OrderReading(None, OrderRule.CONTRADICTORY)
        if ranks := together.ranks(n):
            return OrderReading(ranks, _rule(ranks))
    return None


def _said(sentence: str, n: int) -> _Said:
    relations = Relations()
    if len(sentence) > _LONGEST or conditional(sentence):
        return _Said("", Cue.NONE, relations)
    cue = cue_of(sentence)
    sentence = with_subjects(sentence, n)
    equal = list(equalities(sentence, n))
    for group in equal:
        relations.tie(sorted(group))
    for each in comparisons(sentence, n):
        relations.add(each)
    for each in eastern(sentence, n):
        relations.add(each)
    for each in behind_equals(sentence, n, equal):
        relations.add(each)
    relations.add(sequence(sentence, n))
    return _Said(sentence, cue, relations)


def _beginning(said: list[_Said]) -> int:
    """Return from where on sentences count."""
    for cue in (Cue.STRONG, Cue.WEAK):
        for place in range(len(said) - 1, -1, -1):
            if said[place].cue is cue and said[place].relations:
                return place
    return max(0, len(said) - _UNANNOUNCED)


def _together(counted: list[_Said], n: int) -> Relations:
    together = Relations()
    for each in counted:
        together.add(each.relations)
    if together.ranks(n) is None and not together.better:
        together.add(graded([each.text for each in counted], n))
    return together


def _rule(ranks: tuple[int, ...]) -> OrderRule:
    if set(ranks) == {1}:
        return OrderRule.PROSE_EQUAL
    return OrderRule.PROSE_PAIR if len(ranks) == 2 else OrderRule.PROSE_GROUPED  # noqa: PLR2004
