"""Reading a judge's reply: in the form that was asked for, and in the judge's own words only.

Owns which parts of a reply are looked at in which order. Kinds know what a verdict is.
"""

from __future__ import annotations

import re

from services.evaluator.judging.assessment import Form
from services.evaluator.judging.faults import Fault
from services.evaluator.judging.json_reply import Unreadable, is_echo, json_object
from services.evaluator.judging.kinds.kind import Kind
from services.evaluator.judging.own_words import (
    Source,
    marked_verdict,
    own_words,
    without_quotes,
    without_thoughts,
)
from shared.protocol.evals.item import Verdict

_ONLY_OBJECT = re.compile(r"(?:```(?:json)?\s*)?\{.*\}(?:\s*```)?", re.DOTALL)


def read_reply(kind: Kind, form: Form, reply: str, source: Source) -> Verdict:
    """Return the verdict of a reply.

    A server that was asked for a schema may not know of it and let the judge write text; so a
    reply without any brace is read as text in either form.
    """
    text = without_thoughts(reply).strip()
    if not text:
        return Verdict(rule=Fault.EMPTY)
    if form is Form.SCHEMA and "{" in text:
        return _read_object(kind, text, source)
    if _ONLY_OBJECT.fullmatch(text):
        verdict = _read_object(kind, text, source)
        if verdict.decoded or verdict.rule == Fault.ECHO:
            return verdict
    return _read_text(kind, text, source)


def _read_object(kind: Kind, text: str, source: Source) -> Verdict:
    """Return what the one object in a text says, if nothing around it says otherwise."""
    try:
        told, around = json_object(text)
        verdict = kind.from_object(told)
    except Unreadable as unreadable:
        return Verdict(rule=unreadable.fault)
    if is_echo(told, source.echoes):
        return Verdict(rule=Fault.ECHO)
    if around.strip(" \n`"):
        other = kind.from_text(own_words(around, source))
        if other.confidence == "high" and other.decoded and not _same(other, verdict):
            return Verdict(rule=Fault.CONTRADICTORY)
    return verdict


def _same(first: Verdict, second: Verdict) -> bool:
    return (first.ranks, first.scores, first.label) == (second.ranks, second.scores, second.label)


def _read_text(kind: Kind, text: str, source: Source) -> Verdict:
    marked = marked_verdict(text, source)
    if marked is not None:
        line, _, rest = marked.partition("\n")
        verdict = kind.from_text(line)
        if verdict.decoded or not rest.strip():
            return verdict
        return kind.from_text(f"{line}\n{own_words(rest, source)}")
    own = own_words(text, source)
    verdict = kind.from_text(own)
    if verdict.decoded:
        bare = without_quotes(own, source, kind.said_in)
        verdict = verdict if bare == own else kind.from_text(bare)
    if not verdict.decoded and kind.from_text(text).decoded:
        return Verdict(rule=Fault.ECHO)
    return verdict
