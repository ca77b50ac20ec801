"""One review of a run: what was shown, what the judge wrote, and what was read in it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field

from shared.protocol.evals.base import Asked, Told
from shared.protocol.evals.spec import Question


class ItemStatus(StrEnum):
    """How far an item is."""

    PENDING = "pending"
    JUDGED = "judged"
    UNDECODED = "undecoded"
    ERRORED = "errored"


class Verdict(Told):
    """What was read, in the order of the line-up; nothing of it means undecoded."""

    ranks: list[int] | None = Field(default=None, description="competition ranks, 1 is best")
    scores: list[float] | None = None
    label: str | None = None
    passed: bool | None = None
    rule: str = Field(description="by which rule it was read, or why it was not")
    confidence: Literal["high", "low"] = "high"

    @property
    def decoded(self) -> bool:
        """Return whether there is a verdict."""
        return self.ranks is not None or self.scores is not None or self.label is not None


class ItemError(Told):
    """Why an item has no verdict."""

    stage: Literal["answer", "judge"]
    message: str
    code: str | None
    status: int
    candidate: str | None = Field(default=None, description="whose answer failed")


class ItemAnswer(Told):
    """A candidate's answer as the judge saw it."""

    candidate: str
    turns: list[str] | None
    finish_reason: str | None = None
    error: ItemError | None = None
    usage: dict[str, Any] | None = Field(default=None, description="of the calls for it")


class Override(Told):
    """A person's verdict in the place of the judge's."""

    author: str
    reason: str
    at: int = Field(description="Unix seconds")
    verdict: Verdict
    replaced: Verdict | None = Field(description="what stood there before")


class OverrideRequest(Asked):
    """Body of `PATCH …/output_items/{item}`; exactly one verdict."""

    author: Annotated[str, Field(min_length=1, max_length=200, pattern=r"\S")]
    reason: Annotated[str, Field(min_length=1, max_length=2000, pattern=r"\S")]
    ranks: list[int] | None = None
    scores: list[float] | None = None
    label: str | None = None


class OutputItem(Told):
    """One review of a run with all that became of it."""

    object: Literal["eval.run.output_item"] = "eval.run.output_item"
    id: str
    run_id: str
    question: Question
    dimension: str | None
    judge: str | None
    lineup: list[str] = Field(description="candidates in the order that the judge saw")
    repeat: int
    status: ItemStatus
    answers: list[ItemAnswer] = Field(description="in the order of the line-up")
    judge_text: str | None = None
    verdict: Verdict | None = Field(default=None, description="a person's, if there is one")
    overrides: list[Override] = Field(default=[], description="oldest first")
    error: ItemError | None = None
    model_version: str | None = Field(default=None, description="as the judge's server told it")
    usage: dict[str, Any] | None = None
