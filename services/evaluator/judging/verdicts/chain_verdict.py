"""Which of a text's chains is the verdict. Knows how they are written as little as names."""

from __future__ import annotations

from services.evaluator.judging.verdicts.chains import Chain, chains_in, spaced_chains_in
from services.evaluator.judging.verdicts.comparisons import comparisons
from services.evaluator.judging.verdicts.context import Cue, cue_of, left_open
from services.evaluator.judging.verdicts.ranking import Relations
from services.evaluator.judging.verdicts.readings import OrderReading, OrderRule
from services.evaluator.judging.verdicts.sentences import Sentences
from services.evaluator.judging.verdicts.subjects import with_subjects

_TAIL = 2
"""How many sentences at the end may hold a chain that leaves answers out."""
_LONGEST = 1500
"""Characters after a chain in which the answers that it leaves out may be told of."""
_ANNOUNCED_TAIL = 4
"""How many may, if theirs announces a verdict."""


def read_chains(sentences: Sentences, n: int) -> OrderReading | None:
    """Return what the chains say; None: none of them ranks anything in a place that counts.

    The last one that ranks all decides. Without one, those of the last two sentences do: an
    answer that a judge leaves out there is behind all it names.
    """
    chains = list(chains_in(sentences, n))
    full = [chain for chain in chains if chain.ranks is not None]
    tail = sentences.spans[-_TAIL:][0][0] if sentences.spans else 0
    if not full:
        return _partial(sentences, _in_tail(sentences, chains), n)
    last = full[-1]
    after = [chain for chain in chains if chain.start > last.start]
    if any(chain.broken for chain in after):
        return OrderReading(None, OrderRule.UNREADABLE)
    for chain in after:
        together = Relations(last.relations.better | chain.relations.better)
        together.equal = last.relations.equal | chain.relations.equal
        if chain.start >= tail and together.contradict(n):
            return OrderReading(None, OrderRule.CONTRADICTORY)
    return _decided(sentences, full)


def _in_tail(sentences: Sentences, chains: list[Chain]) -> list[Chain]:
    """Return the chains at the end, the nearest place that has any."""
    count = len(sentences.spans)
    places = [count - sentences.place(chain.start) for chain in chains]
    near = [chain for chain, place in zip(chains, places, strict=True) if place <= _TAIL]
    return near or [
        chain
        for chain, place in zip(chains, places, strict=True)
        if place <= _ANNOUNCED_TAIL and _standing(sentences, chain) > Cue.NONE
    ]


def read_spaced(sentences: Sentences, n: int) -> OrderReading | None:
    """Return what chains with words in them say, if they rank all and agree."""
    ranks = {chain.ranks for chain in spaced_chains_in(sentences, n) if not chain.broken} - {None}
    if not ranks:
        return None
    if len(ranks) > 1:
        return OrderReading(None, OrderRule.CONTRADICTORY)
    return OrderReading(ranks.pop(), OrderRule.SPACED_CHAIN)


def _decided(sentences: Sentences, full: list[Chain]) -> OrderReading:
    """Return the last chain's ranks, if it is the verdict or if all say the same."""
    last = full[-1]
    others = [chain for chain in full if chain.ranks != last.ranks]
    if not others:
        return OrderReading(last.ranks, OrderRule.CHAIN)
    place = sentences.place(last.start)
    same_sentence = any(sentences.place(chain.start) == place for chain in others)
    standing = _standing(sentences, last)
    plainest = max(_standing(sentences, chain) for chain in others)
    if not same_sentence and standing >= max(plainest, Cue.WEAK):
        return OrderReading(last.ranks, OrderRule.CHAIN)
    return OrderReading(None, OrderRule.CONTRADICTORY)


def _standing(sentences: Sentences, chain: Chain) -> Cue:
    """Return how plainly a chain is the verdict."""
    before, _ = sentences.around(chain.start, chain.end)
    cue = cue_of(before)
    if cue is Cue.NONE and sentences.alone(chain.start, chain.end):
        return Cue.STRONG
    return cue


def _partial(sentences: Sentences, tail: list[Chain], n: int) -> OrderReading | None:
    if not tail:
        return None
    rest = sentences.text[tail[0].start :]
    if any(chain.broken for chain in tail) or left_open(rest):
        return OrderReading(None, OrderRule.UNREADABLE)
    together = Relations()
    for chain in tail:
        together.add(chain.relations)
    named = frozenset[int]().union(*(chain.answers for chain in tail))
    missing = sorted(set(range(1, n + 1)) - named)
    if missing and len({chain.answers for chain in tail}) == 1:
        together.rank(named, missing)
        together.tie(missing)
        for each in comparisons(with_subjects(rest[:_LONGEST], n), n):
            together.add(each)
    ranks = together.ranks(n)
    return OrderReading(ranks, OrderRule.PARTIAL_CHAIN if ranks else OrderRule.CONTRADICTORY)
