"""The verdict in a text's sentences: which of them count, and what they say together.

The last sentence that announces a verdict counts, with all that follow it; without one, the last
few do. Whatever counts must fit together and leave a single ranking.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from services.evaluator.judging.verdicts.comparisons import asides, comparisons
from services.evaluator.judging.verdicts.context import Cue, conditional, cue_of, left_open
from services.evaluator.judging.verdicts.eastern import eastern
from services.evaluator.judging.verdicts.equality import equalities, signed_equalities
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


_BUT = re.compile(
    r"^\W*(?:however|but|that said|that being said|having said that|nevertheless|nonetheless|still|"
    r"conversely|on the other hand|yet|even so|但|但是|然而|不过|しかし)(?:\b|(?<=[^\x00-\x7f]))",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class _Said:
    text: str
    cue: Cue
    relations: Relations
    asides: Relations
    """What is said of one aspect alone: it gives no verdict, and may take one back."""


def read_prose(sentences: Sentences, n: int) -> OrderReading | None:
    """Return what the sentences at the end say; None: nothing of an order."""
    last = sentences.spans[-_COUNTED:]
    texts = [sentences.text[start:end].strip() for start, end in last]
    said = [_said(text, before, n) for before, text in zip(["", *texts], texts, strict=False)]
    if (signed := _signed_equal(said, n)) is not None:
        return signed
    begin = _beginning(said)
    if _announced(said, said[begin].cue if said else Cue.NONE).contradict(n):
        return OrderReading(None, OrderRule.CONTRADICTORY)
    if any(_leaves_open(each) for each in said[begin:]):
        return OrderReading(None, OrderRule.CONTRADICTORY)
    for start in dict.fromkeys((begin, max(0, begin - 1))):
        counted = said[start:]
        together = _together(counted, n)
        if not together:
            continue
        if _with_asides(together, counted).contradict(n):
            return OrderReading(None, OrderRule.CONTRADICTORY)
        if ranks := together.ranks(n):
            return OrderReading(ranks, _rule(ranks))
    return None


def _said(sentence: str, before: str, n: int) -> _Said:
    relations, aside = Relations(), Relations()
    if len(sentence) > _LONGEST or conditional(sentence):
        return _Said("", Cue.NONE, relations, aside)
    cue = cue_of(sentence)
    before = with_subjects(before, n)
    sentence = with_subjects(sentence, n, before)
    equal = list(equalities(sentence, n, before))
    for group in equal:
        relations.tie(sorted(group))
    for each in comparisons(sentence, n):
        relations.add(each)
    for each in asides(sentence, n):
        aside.add(each)
    for each in eastern(sentence, n):
        relations.add(each)
    for each in behind_equals(sentence, n, equal):
        relations.add(each)
    relations.add(sequence(sentence, n))
    return _Said(sentence, cue, relations, aside)


def _signed_equal(said: list[_Said], n: int) -> OrderReading | None:
    """Return the tie that the last sentence tells with the sign asked for: `equal (=)`."""
    if said and any(len(group) == n for group in signed_equalities(said[-1].text, n)):
        return OrderReading((1,) * n, OrderRule.PROSE_EQUAL)
    return None


def _announced(said: list[_Said], cue: Cue) -> Relations:
    """Return all that sentences as plainly announced as the one that counts say."""
    together = Relations()
    for each in said:
        if each.cue is cue is not Cue.NONE:
            together.add(each.relations)
    return together


def _leaves_open(said: _Said) -> bool:
    """Return whether a sentence takes the verdict back without giving another."""
    if said.relations.equal and not said.relations.better:
        return False
    return left_open(said.text) or (not said.relations and bool(_BUT.search(said.text)))


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


def _with_asides(together: Relations, counted: list[_Said]) -> Relations:
    whole = Relations(set(together.better), set(together.equal))
    for each in counted:
        whole.add(each.asides)
    return whole


def _rule(ranks: tuple[int, ...]) -> OrderRule:
    if set(ranks) == {1}:
        return OrderRule.PROSE_EQUAL
    return OrderRule.PROSE_PAIR if len(ranks) == 2 else OrderRule.PROSE_GROUPED  # noqa: PLR2004
