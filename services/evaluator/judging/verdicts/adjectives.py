"""Adjectives: which say that an answer is good, which that it is bad, which say neither.

Length, tone and the like are no merit: who is longer is not better for it.
"""

from __future__ import annotations

import re

NO_MERIT = frozenset((
    "long", "longer", "lengthy", "lengthier", "short", "shorter", "verbose", "wordy", "wordier",
    "brief", "briefer", "concise", "succinct", "terse", "large", "larger", "small", "smaller",
    "big", "bigger", "old", "older", "young", "younger", "new", "newer", "fast", "faster",
    "slow", "slower", "expensive", "cheap", "cheaper", "popular", "formal", "informal",
    "casual", "technical", "simple", "simpler", "complex", "complicated", "general", "common",
    "frequent", "likely", "unlikely", "similar", "different", "focused", "concentrated",
    "geared", "oriented", "conservative", "liberal", "traditional", "modern", "recent", "late",
    "later", "early", "earlier", "direct", "optimistic", "pessimistic", "poetic", "humorous",
    "serious", "colloquial", "personal", "neutral", "other", "further", "rather", "over",
    "under", "after", "never", "whether", "either", "neither", "number", "answer", "another",
    "together", "however", "moreover", "consider", "offer", "order", "cover", "deliver",
    "refer", "user", "reader", "writer", "content", "information", "details", "detail",
    "like", "than", "examples", "points", "aspects", "words", "sentences", "sources", "text", "argument",
    "arguments", "perspectives", "facts", "ideas", "context",
))  # fmt: skip
_BAD = frozenset((
    "repetitive", "redundant", "confusing", "confused", "vague", "biased", "harmful",
    "incorrect", "inaccurate", "incoherent", "irrelevant", "wrong", "misleading", "dangerous",
    "problematic", "toxic", "offensive", "generic", "limited", "incomplete", "disorganized",
    "disjointed", "boring", "superficial", "ambiguous", "unclear", "inconsistent", "erroneous",
    "flawed", "unhelpful", "unsafe", "shallow", "difficult", "hard", "harder", "rambling",
    "fragmented", "cluttered", "awkward", "monotonous", "robotic", "unethical", "immoral",
    "worse", "bad", "poor", "weak", "off-topic",
))  # fmt: skip
_SUFFIX = re.compile(
    r"(?:[^e]ed|en|ent|ant|ive|ful|ous|al|able|ible|ic|ate|ar|ing|[^l]y|ete|ise|rse|ear|ough|ust|"
    r"air|pth|und|act|ong|ise|ound|ral|ect|ure|ense|est|igh|aced|eal|lly)$"
)
BETTER = r"(?:better|superior|preferable|stronger|finer|greater|higher)"
WORSE = r"(?:worse|inferior|weaker|poorer|lower)"
BEST = r"(?:best|strongest|finest|top|winner|clear winner|highest|preferred)"
WORST = r"(?:worst|weakest|poorest|lowest|last)"


def has_merit(adjective: str) -> bool:
    """Return whether more of what `adjective` says makes an answer better."""
    low = adjective.lower()
    return low not in NO_MERIT and low not in _BAD


def is_bad(adjective: str) -> bool:
    """Return whether more of what `adjective` says makes an answer worse."""
    return adjective.lower() in _BAD


def is_adjective(word: str) -> bool:
    """Return whether `word` looks like an adjective: `more specific`, and not `more examples`."""
    return bool(_SUFFIX.search(word.lower())) and word.lower() not in NO_MERIT
