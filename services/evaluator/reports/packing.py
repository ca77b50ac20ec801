"""A run's items as the page carries them: each text once, deflated, in base64.

The page's script unpacks them (`assets/items.js` knows this form too). What would not fit into a
page that still opens is left out and counted.
"""

from __future__ import annotations

import zlib
from base64 import b64encode
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import to_json

from shared.protocol.evals.item import ItemAnswer, OutputItem
from shared.protocol.evals.spec import Question

MAX_ITEMS = 20_000
MAX_CHARACTERS = 30_000_000
"""Of different texts."""

Packed = dict[str, Any]


@dataclass(frozen=True, slots=True)
class PackedItems:
    """Items for a page."""

    text: str
    """Base64 of the deflated JSON."""
    items: int
    left_out: int


@dataclass
class _Shelf:
    """Texts, questions and answers, each kept once and known by its place."""

    texts: list[str] = field(default_factory=list[str])
    questions: list[Packed] = field(default_factory=list[Packed])
    answers: list[Packed] = field(default_factory=list[Packed])
    characters: int = 0
    _places: dict[Any, int] = field(default_factory=dict[Any, int])

    def text(self, text: str | None) -> int | None:
        if text is None:
            return None
        place = self._places.get(text)
        if place is None:
            self.characters += len(text)
            place = self._places[text] = len(self.texts)
            self.texts.append(text)
        return place

    def question(self, question: Question) -> int:
        key = ("question", question.model_dump_json())
        if key not in self._places:
            self._places[key] = len(self.questions)
            self.questions.append(self._asked(question))
        return self._places[key]

    def answer(self, question: int, answer: ItemAnswer) -> int:
        packed = self._answered(answer)
        key = ("answer", question, _json(packed))
        if key not in self._places:
            self._places[key] = len(self.answers)
            self.answers.append(packed)
        return self._places[key]

    def _asked(self, question: Question) -> Packed:
        row = question.item
        packed = {
            "id": question.id,
            "category": question.category,
            "language": question.language,
            "turns": [self.text(turn) for turn in question.turns],
            "references": [self.text(each) for each in question.references or []],
            "messages": [
                {"role": each.role, "content": self.text(each.content)}
                for each in question.messages or []
            ],
            "row": None if row is None else self.text(_json(row).decode()),
        }
        return _filled(packed)

    def _answered(self, answer: ItemAnswer) -> Packed:
        packed = {
            "candidate": answer.candidate,
            "turns": [self.text(turn) for turn in answer.turns or []],
            "finish": answer.finish_reason,
            "error": answer.error.model_dump() if answer.error else None,
        }
        return _filled(packed)


def pack(items: list[OutputItem], characters: int = MAX_CHARACTERS) -> PackedItems:
    """Return as many of the items as a page holds, the first ones."""
    shelf = _Shelf()
    packed: list[Packed] = []
    for item in items[:MAX_ITEMS]:
        if shelf.characters > characters:
            break
        packed.append(_item(shelf, item))
    whole = {
        "texts": shelf.texts,
        "questions": shelf.questions,
        "answers": shelf.answers,
        "items": packed,
    }
    deflated = zlib.compress(_json(whole), level=9)
    return PackedItems(b64encode(deflated).decode(), len(packed), len(items) - len(packed))


def _item(shelf: _Shelf, item: OutputItem) -> Packed:
    question = shelf.question(item.question)
    told = item.model_dump(
        mode="json",
        include={
            "id",
            "dimension",
            "judge",
            "lineup",
            "repeat",
            "status",
            "verdict",
            "overrides",
            "error",
            "model_version",
            "usage",
        },
    )
    told["question"] = question
    told["answers"] = [shelf.answer(question, each) for each in item.answers]
    told["judge_text"] = shelf.text(item.judge_text)
    return _filled(told)


def _filled(packed: Packed) -> Packed:
    """Return it without what is empty."""
    return {name: value for name, value in packed.items() if value not in (None, [], {})}


def _json(value: object) -> bytes:
    """Return JSON that a browser reads, which knows no NaN."""
    return to_json(value, inf_nan_mode="null")
