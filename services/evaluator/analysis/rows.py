"""What statistics are made of: verdicts and answers as rows, with names in the place of ids.

Knows no store, judge or request.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Review:
    """One verdict on the answers to one question; undecoded if it has neither ranks nor scores."""

    question: str
    category: str | None
    language: str | None
    dimension: str
    judge: str
    repeat: int
    lineup: tuple[str, ...]
    """Candidates in the order that the judge saw."""
    ranks: tuple[int, ...] | None = None
    """Competition ranks in the order of the line-up, 1 is best; of scores as well."""
    scores: tuple[float, ...] | None = None
    passed: bool | None = None
    human: bool = False
    replaced_ranks: tuple[int, ...] | None = None
    """What the judge had said where a person said otherwise."""
    replaced_scores: tuple[float, ...] | None = None
    model_version: str | None = None

    @property
    def decoded(self) -> bool:
        """Return whether there is a verdict."""
        return self.ranks is not None or self.scores is not None or self.passed is not None

    def as_judged(self) -> Review:
        """Return the review as the judge had made it, before a person said otherwise."""
        if not self.human:
            return self
        said = {"ranks": self.replaced_ranks, "scores": self.replaced_scores, "passed": None}
        return replace(self, **said, human=False, replaced_ranks=None, replaced_scores=None)


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """One candidate's answer to one question."""

    question: str
    category: str | None
    language: str | None
    candidate: str
    text: str
    references: tuple[str, ...] = ()
    asked: str = ""
    """The question."""
    turns: tuple[str, ...] = ()
    """Of an answer of several; `text` is all of them."""
    seconds: float | None = None
    """How long its calls took; None: not known, or it was there already."""
    tokens: int = 0
    """That they brought, as the server counted them."""
