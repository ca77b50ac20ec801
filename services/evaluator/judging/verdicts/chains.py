"""Chains: `Assistant 2 > Assistant 1 = Assistant 3`, in all the ways that judges write them.

Reads a text whose names are characters, and finds what is meant. A chain that names somebody
twice, or somebody unknown, or that cannot be a ranking, is broken. Which chain decides is not
its affair.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from services.evaluator.judging.verdicts.bare import LABEL, OPERATOR
from services.evaluator.judging.verdicts.context import meant
from services.evaluator.judging.verdicts.names import NAME, UNKNOWN, index, is_name, name
from services.evaluator.judging.verdicts.ranking import Relations
from services.evaluator.judging.verdicts.sentences import Sentences

_JOINT = rf"(?: ?\([^()\n]{{0,60}}\))?(?:'s)?\s{{0,3}}({OPERATOR})\s{{0,3}}"
_NEXT = rf"(?:{NAME}|{LABEL})"
_CHAIN = re.compile(rf"{NAME}(?:{_JOINT}{_NEXT})+")
_LINK = re.compile(rf"{_JOINT}({_NEXT})")
_SPACED = re.compile(
    rf"{NAME}(?:(?:'s)?(?: \w[\w-]{{0,23}}){{0,5}}(?<![0-9]) ?(?<![0-9] ){OPERATOR} ?(?![0-9])(?:[\w'-]{{1,24}} ){{0,6}}{NAME})+"
)
_SPACED_LINK = re.compile(rf"({OPERATOR})[^<>=≥≤≠≯≮!]{{0,180}}?({NAME})")
_JOINED_BEFORE = re.compile(rf"(?<![<>=≥≤] )(?<![<>=≥≤]){NAME} ?(?:,|/|&|,? ?\b(?:and|or)\b) ?$")
_JOINED_AFTER = re.compile(
    rf" ?(?:,|/|&|,? ?\b(?:and|or)\b) ?{NAME}(?! ?{OPERATOR}| (?:is|was|has|does|did|gives|comes|ranks|being|as) )"
)
_OPEN_AFTER = re.compile(rf"(?: ?\([^()\n]{{0,60}}\))?\s?{OPERATOR}(?![\"')\]])")
_OPEN_BEFORE = re.compile(r"\w ?[<>=≥≤]{1,3} ?$")
_NO_SIGN = frozenset("≠≯≮!")


@dataclass(frozen=True, slots=True)
class Chain:
    """One chain in a text."""

    start: int
    end: int
    answers: frozenset[int]
    relations: Relations
    ranks: tuple[int, ...] | None
    """None unless it ranks each answer."""
    broken: bool


def chains_in(sentences: Sentences, n: int) -> Iterator[Chain]:
    """Yield the chains that are meant, in their order."""
    text = sentences.text
    for found in _CHAIN.finditer(text):
        links = _LINK.findall(found[0], 1)
        if not _tells_numbers(links, n) and meant(*sentences.around(*found.span())):
            named = [(sign, each if is_name(each) else name(each, n)) for sign, each in links]
            chain = _chain(found, named, n)
            if chain.ranks is None and _goes_on(text, chain):
                chain = replace(chain, broken=True)
            yield chain


def spaced_chains_in(sentences: Sentences, n: int) -> Iterator[Chain]:
    """Yield chains with words between names and signs: `the tone of X = that of Y`."""
    for found in _SPACED.finditer(sentences.text):
        if meant(*sentences.around(*found.span())):
            yield _chain(found, _SPACED_LINK.findall(found[0], 1), n)


def _goes_on(text: str, chain: Chain) -> bool:
    """Return whether a chain is cut out of more: `X and Y > Z`, `GPT > X`, `X > …`.

    Who stands beside it belongs to it in a way that is not said.
    """
    near = max(0, chain.start - 12)
    return bool(
        _JOINED_BEFORE.search(text, near, chain.start)
        or _OPEN_BEFORE.search(text, near, chain.start)
        or _JOINED_AFTER.match(text, chain.end)
        or _OPEN_AFTER.match(text, chain.end)
    )


def _tells_numbers(links: list[tuple[str, str]], n: int) -> bool:
    """Return whether bare labels are no names: `Assistant 1 = 2` may tell a score or a place."""
    bare = [each for _, each in links if not is_name(each)]
    if n > 2 and len({each for _, each in links}) == n - 1:  # noqa: PLR2004 - `Assistant 1 = 2` may
        return any(name(each, n) == UNKNOWN for each in bare)
    equal_only = all(set(sign) == {"="} for sign, _ in links)
    return bool(bare) and (equal_only or any(name(each, n) == UNKNOWN for each in bare))


def _chain(found: re.Match[str], links: list[tuple[str, str]], n: int) -> Chain:
    relations = Relations()
    answers = [index(found[0][0])]
    signs: set[str] = set()
    for sign, character in links:
        one, other = answers[-1], index(character)
        kind = _kind(sign)
        signs.add(kind)
        if kind == "=":
            relations.tie((one, other))
        else:
            relations.rank(*(((one,), (other,)) if kind == ">" else ((other,), (one,))))
        answers.append(other)
    broken = 0 in answers or len(set(answers)) < len(answers) or "" in signs or signs >= {"<", ">"}
    complete = len(answers) == n and not broken
    return Chain(
        start=found.start(),
        end=found.end(),
        answers=frozenset(answers),
        relations=relations,
        ranks=relations.ranks(n) if complete else None,
        broken=broken,
    )


def _kind(sign: str) -> str:
    """Return which way a sign goes; `>=` ranks as `>` does, for a tie has a sign of its own."""
    up, down = bool(set(sign) & set(">≥")), bool(set(sign) & set("<≤"))
    if set(sign) & _NO_SIGN or (up and down):
        return ""
    return ">" if up else "<" if down else "="
