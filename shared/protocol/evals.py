"""The wire types of the evaluation API: what is asked for, and what is told of evals and runs.

Two levels, as OpenAI's evals have them: an eval says what is measured, a run is one execution
of it. Owns shapes and bounds. What is wrong with a body that does not fit, the evaluator says.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

MAX_QUESTIONS = 1_000
MAX_TEXT = 32_000
"""Characters of a question or a system prompt."""

ModelName = Annotated[str, Field(min_length=1, max_length=256)]
Name = Annotated[str, Field(min_length=1, max_length=64)]
Text = Annotated[str, Field(max_length=MAX_TEXT, pattern=r"\S")]


class _Strict(BaseModel):
    # Inputs are hidden: the texts of questions and answers must not get into a log.
    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
    )


class _Told(BaseModel):
    # What a newer evaluator adds must not break an older client.
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class Question(_Strict):
    """One question; without an id it gets its place in the list, counted from 1."""

    id: Name | None = None
    text: Text
    category: Name | None = None


class JudgeSampling(_Strict):
    """How a judge writes; it always writes its likeliest words."""

    max_tokens: Annotated[int, Field(ge=16, le=8192)] = 512
    """Tokens of a reply; it is asked for a few sentences and a score."""


class Judge(_Strict):
    """The model that reads the answers."""

    model: ModelName
    sampling: JudgeSampling = JudgeSampling()


class EvalSpec(_Strict):
    """Body of `POST /v1/evals`."""

    name: Annotated[str, Field(max_length=200)] = ""
    questions: Annotated[list[Question], Field(min_length=1, max_length=MAX_QUESTIONS)]
    dimensions: Annotated[list[Literal["general"]], Field(min_length=1)]
    mode: Literal["scoring"]
    judge: Judge


class Candidate(_Strict):
    """A model whose answers are measured."""

    model: ModelName
    system: Annotated[str, Field(max_length=MAX_TEXT)] | None = None


class RunSpec(_Strict):
    """Body of `POST /v1/evals/{id}/runs`."""

    candidates: Annotated[list[Candidate], Field(min_length=1, max_length=1)]
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    max_tokens: Annotated[int, Field(ge=1, lt=2**31)] | None = None


class Evaluation(_Told):
    """What is measured; lists leave the questions out."""

    object: Literal["eval"] = "eval"
    id: str
    created_at: int = Field(description="Unix seconds")
    name: str
    question_count: int
    questions: list[Question] = []
    dimensions: list[str]
    mode: str
    judge: Judge


class RunStatus(StrEnum):
    """The life of a run; the last three are ends."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"


class Progress(_Told):
    """Counts of items; the run is over when judged + undecoded + errored is the total."""

    total: int
    answered: int = Field(description="the candidate has answered")
    judged: int = Field(description="the judge's score was read")
    undecoded: int = Field(description="the judge's text holds no single readable score")
    errored: int = Field(description="a call failed for good")


class CallUsage(_Told):
    """What finished calls of one kind used, as the server told it."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Usage(_Told):
    """What a run used, the candidate's and the judge's part."""

    answers: CallUsage
    judge: CallUsage


class Summary(_Told):
    """The figures so far. Undecoded and errored items are in no denominator."""

    mean_score: float | None
    judged: int
    undecoded: int
    errored: int


class Run(_Told):
    """One execution of an eval."""

    object: Literal["eval.run"] = "eval.run"
    id: str
    eval_id: str
    status: RunStatus
    created_at: int = Field(description="Unix seconds")
    started_at: int | None = None
    finished_at: int | None = None
    candidates: list[Candidate]
    temperature: float | None
    max_tokens: int | None
    progress: Progress
    usage: Usage
    summary: Summary
    error: str | None = Field(default=None, description="why the run failed")


class ItemStatus(StrEnum):
    """How far an item is."""

    PENDING = "pending"
    ANSWERED = "answered"
    JUDGED = "judged"
    UNDECODED = "undecoded"
    ERRORED = "errored"


class Verdict(_Told):
    """What was read in the judge's text; no score means undecoded, and the rule says why."""

    score: float | None
    rule: str


class ItemError(_Told):
    """Why an item has no verdict."""

    stage: Literal["answer", "judge"]
    message: str
    code: str | None
    status: int


class OutputItem(_Told):
    """One question of a run with all that became of it."""

    object: Literal["eval.run.output_item"] = "eval.run.output_item"
    id: str
    run_id: str
    question: Question
    model: str
    dimension: str
    status: ItemStatus
    answer: str | None = None
    finish_reason: str | None = None
    judge_text: str | None = None
    verdict: Verdict | None = None
    error: ItemError | None = None
