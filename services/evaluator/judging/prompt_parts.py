"""Questions, references and answers as a judge is shown them, between marked lines.

Owns the fences and what a review's material is; the words around it are in `rubric`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from services.evaluator.judging.assessment import ReviewTask
from services.evaluator.judging.excerpts import MAX_QUESTION, answer_bound, excerpt
from services.evaluator.judging.markers import neutralised
from services.evaluator.judging.marks import Marks, marks_of
from services.evaluator.judging.wording import Wording
from shared.protocol.evals.spec import Message, Mode, Question

_A = ord("A")


@dataclass(frozen=True, slots=True)
class Material:
    """What is judged, as text of the prompt."""

    marks: Marks
    shown: str

    @property
    def unfenced(self) -> str:
        """Return the texts without the marked lines."""
        lines = self.shown.splitlines()
        return "\n".join(line for line in lines if self.marks.fence not in line)


def material_of(task: ReviewTask, wording: Wording) -> Material:
    """Return the material of a review."""
    question = task.question
    references = question.references or [] if task.with_references else []
    context = [message.content for message in question.messages or []]
    replies = [turn for answer in task.answers for turn in answer.turns]
    marks = marks_of((*question.turns, *context, *references, *replies))
    fences = _Fences(marks, wording)
    parts = [
        *fences.question(question),
        *fences.references(references, turns=len(question.turns)),
        *fences.answers(task),
    ]
    return Material(marks, "\n\n".join(parts))


def name_of(mode: Mode, place: int) -> str:
    """Return how the answer in a place (from 0) is called: by number, by letter in a pair."""
    return chr(_A + place) if mode is Mode.PAIRWISE else str(place + 1)


@dataclass(frozen=True, slots=True)
class _Fences:
    marks: Marks
    wording: Wording

    def question(self, question: Question) -> Iterator[str]:
        """Yield what was asked; turns of a conversation are shown with the answers."""
        before = _before(question)
        for message in before:
            label = self.wording.context.replace("{role}", message.role)
            yield self._block(label, message.content, MAX_QUESTION // len(before))
        if len(question.turns) == 1:
            yield self._block(self.wording.question, question.turns[0], MAX_QUESTION)

    def references(self, references: list[str], turns: int) -> Iterator[str]:
        bound = MAX_QUESTION // max(1, len(references))
        for text in references:
            yield self._block(self.wording.reference, text, bound)
        if references:
            told = [self.wording.references]
            told += [self.wording.references_of_turns] if turns > 1 else []
            yield " ".join(told)

    def answers(self, task: ReviewTask) -> Iterator[str]:
        asked = task.question.turns
        bound = answer_bound(len(task.answers), len(asked))
        # In a conversation each answer has the user's turns beside it.
        asked_bound = 2 * MAX_QUESTION // (max(2, len(task.answers)) * len(asked))
        for place, answer in enumerate(task.answers):
            name = name_of(task.mode, place)
            if len(asked) == 1:
                text = answer.turns[0] if answer.turns else ""
                yield self._block(self.wording.answer.replace("{name}", name), text, bound)
                continue
            for number, turn in enumerate(asked):
                text = answer.turns[number] if number < len(answer.turns) else ""
                said = self._label(self.wording.user_turn, name, number)
                yield self._block(said, turn, asked_bound)
                yield self._block(self._label(self.wording.reply_turn, name, number), text, bound)

    @staticmethod
    def _label(label: str, name: str, turn: int) -> str:
        return label.replace("{name}", name).replace("{turn}", str(turn + 1))

    def _block(self, label: str, text: str, bound: int) -> str:
        mark = self.marks.fence
        note = f"[{self.wording.cut} {mark}]"
        inner = neutralised(excerpt(text, bound, note)) if text.strip() else ""
        end = self.wording.end.replace("{what}", label)
        return f"[{label} {mark}]\n{inner or f'[{self.wording.empty} {mark}]'}\n[{end} {mark}]"


def _before(question: Question) -> list[Message]:
    """Return the messages of a prompt without its last user text, which is the question."""
    messages = list(question.messages or [])
    asked = [place for place, message in enumerate(messages) if message.role == "user"]
    if asked:
        del messages[asked[-1]]
    return messages
