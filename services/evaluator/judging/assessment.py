"""What the job runner knows of a review: calls to make, and what their replies mean.

One interface for rubrics (a judge orders or scores answers), OpenAI's model graders and graders
by rule, which need no call.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from shared.protocol.evals.item import Verdict
from shared.protocol.evals.spec import Judge, Mode, Question


class Form(StrEnum):
    """How a verdict is asked for."""

    SCHEMA = "json_schema"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class AnswerShown:
    """One answer in a line-up, turn by turn."""

    candidate: str
    turns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReviewTask:
    """All that one review is about."""

    mode: Mode
    question: Question
    answers: tuple[AnswerShown, ...]
    """In the order in which the judge sees them."""
    repeat: int
    judge: Judge | None
    with_references: bool
    given: bool = False
    """The verdict, or the judge's text, is there already."""


class Assessment(Protocol):
    """One review: pure, so the same task gives the same calls at every start."""

    forms: tuple[Form, ...]
    """In the order to try; empty: no call is needed, `local` has the verdict."""

    def request(self, form: Form) -> dict[str, Any]:
        """Return the body of the chat request that asks for the verdict."""
        ...

    def read(self, form: Form, reply: str, logprobs: list[Any] | None) -> Verdict:
        """Return what a reply says; one that is not `decoded` names the reason as its rule.

        `logprobs` are the entries of `choices[0].logprobs.content`, if the server told any.
        """
        ...

    def again(self, form: Form, reply: str, verdict: Verdict) -> dict[str, Any]:
        """Return the one more request after a reply that could not be read, saying why."""
        ...

    def local(self) -> Verdict:
        """Return the verdict of a grader by rule."""
        ...
