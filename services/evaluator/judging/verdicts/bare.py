"""Labels without a noun, where only names of answers can be meant: `B > A`, `[[1>2]]`.

Turns them into names' characters, so that they read as chains of names do.
"""

from __future__ import annotations

import re

from services.evaluator.judging.verdicts.context import Cue, cue_of
from services.evaluator.judging.verdicts.names import NAME, UNKNOWN, name

OPERATOR = r"[<>=≥≤≠≯≮!]{1,3}"
LABEL = r"(?:[0-9]{1,2}(?![0-9:/%]|\.[0-9])|[A-Z](?![A-Za-z0-9_]))"
_CHAIN = rf"{LABEL}(?: ?{OPERATOR} ?{LABEL}){{1,25}}"
_LINE = re.compile(
    rf"^(?P<lead>[^\n]{{0,80}}: ?|[^\n:]{{0,40}} is |)[\[(\"' ]{{0,4}}(?P<chain>{_CHAIN})[\])\"' .。]{{0,5}}$",
    re.MULTILINE,
)
_BRACKETED = re.compile(rf"\[\[? ?({_CHAIN}) ?\]\]?")
_ANNOUNCED = re.compile(
    r"\b(?:answer|choice|judge?ments?|preference|evaluation|decision|comparison)\b|结果|判断|評価",
    re.IGNORECASE,
)
_ROW = re.compile(
    r"^(?P<lead>[^\n:]{0,80}): ?[\[(\"' ]{0,3}(?P<row>[A-Z](?:(?: ?[,;>] ?| then |,? and )[A-Z]){1,25})[\])\"'. ]{0,4}$",
    re.MULTILINE,
)
_GROUP = re.compile(rf"[(\[] ?({NAME}(?:(?: ?[,=/&] ?(?:and )?| and ){NAME}){{1,25}}) ?[)\]]")
_SHARED = re.compile(
    rf"({NAME}(?: ?(?:,|&) ?{NAME}){{0,25}},? (?:and|&) {NAME}) ?\((?:tied?|equal|both|draw)\)(?= ?[<>=≥≤]|[ .]*$)",
    re.IGNORECASE,
)
_BESIDE = re.compile(r"[<>=≥≤] ?$")


def with_bare_chains(text: str, n: int) -> str:
    """Return `text` with names for bare labels in chains, and with groups as equals."""
    text = _BRACKETED.sub(lambda found: _named(found[0], found[1], n), text)
    text = _LINE.sub(lambda found: _line(found, n), text)
    text = _ROW.sub(lambda found: _row(found, n), text)
    text = _SHARED.sub(r"(\1)", text)
    return _GROUP.sub(lambda found: _group(found, text), text)


def _line(found: re.Match[str], n: int) -> str:
    lead = found["lead"]
    if lead and cue_of(lead) is Cue.NONE and not _ANNOUNCED.search(lead):
        return found[0]
    start = found.start("chain") - found.start()
    return found[0][:start] + _named(found[0][start:], found["chain"], n)


def _row(found: re.Match[str], n: int) -> str:
    """Return `Ranking: B, A` with names; what ranks it is said before, or it is none."""
    labels = re.findall(r"[A-Z]", found["row"])
    if len(labels) != n or cue_of(found["lead"]) is Cue.NONE:
        return found[0]
    start = found.start("row") - found.start()
    named = re.sub(r"\b[A-Z]\b", lambda label: name(label[0], n), found[0][start:])
    return found[0][:start] + named


def _named(whole: str, chain: str, n: int) -> str:
    """Return `whole` with `chain` in names, if it has all `n`, in one kind of label."""
    labels = re.findall(LABEL, chain)
    names = {name(label, n) for label in labels}
    one_kind = len({label.isdigit() for label in labels}) == 1
    if UNKNOWN in names or len(labels) != n or not one_kind:
        return whole
    return whole.replace(chain, re.sub(LABEL, lambda found: name(found[0], n), chain))


def _group(found: re.Match[str], text: str) -> str:
    """Return `(X, Y)` beside a sign of order as `X = Y`: so much a bracket says."""
    before, after = text[max(0, found.start() - 4) : found.start()], text[found.end() :][:4]
    if _BESIDE.search(before) or re.match(r" ?[<>=≥≤]", after):
        return " = ".join(re.findall(NAME, found[1]))
    return found[0]
