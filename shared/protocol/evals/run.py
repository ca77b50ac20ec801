"""One execution of an eval: what is asked for, and what is told of it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field

from shared.protocol.evals.base import (
    MAX_CANDIDATES,
    MAX_QUESTIONS,
    MAX_TURNS,
    AnyText,
    Asked,
    ModelName,
    Name,
    Rows,
    Told,
)
from shared.protocol.evals.spec import Judge, Question


class Sampling(Asked):
    """How candidates write; what is left open is left to the server."""

    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    seed: int | None = None


class GivenAnswer(Asked):
    """An answer that is there already."""

    question_id: Name
    turns: Annotated[list[AnyText], Field(min_length=1, max_length=MAX_TURNS)]


class Candidate(Asked):
    """What is measured: a model, or answers that are given."""

    name: Annotated[str, Field(min_length=1, max_length=256)]
    """In results and reports; unique in a run, the model's name where none was given."""
    model: ModelName | None = None
    system: AnyText | None = None
    sampling: Sampling | None = None
    """In the place of the run's."""
    answers: Annotated[Rows[GivenAnswer], Field(max_length=MAX_QUESTIONS)] | None = None


class GivenReview(Asked):
    """A judge's text or verdict that is there already: measured without any call."""

    question_id: Name
    dimension: str
    judge: str
    lineup: list[str]
    """Names of candidates in the order that the judge saw."""
    repeat: int = 0
    ranks: list[int] | None = None
    scores: list[float] | None = None
    text: str | None = None


class Limits(Asked):
    """Where a run stops; it can be resumed with others."""

    max_cost_usd: Annotated[float, Field(ge=0, le=1e6)] | None = None
    max_tokens: Annotated[int, Field(ge=0)] | None = None
    max_calls: Annotated[int, Field(ge=0)] | None = None
    max_judge_calls: Annotated[int, Field(ge=0)] | None = None
    deadline: Annotated[float, Field(gt=0)] | None = None
    """Seconds from the run's creation, or from its last resumption."""


class RunSpec(Asked):
    """What is executed, as it is stored."""

    name: Annotated[str, Field(max_length=200)] = ""
    metadata: dict[str, str] | None = None
    candidates: Annotated[list[Candidate], Field(min_length=1, max_length=MAX_CANDIDATES)]
    questions: Annotated[Rows[Question], Field(max_length=MAX_QUESTIONS)] | None = None
    """In the place of the eval's (OpenAI's runs)."""
    sampling: Sampling = Sampling()
    reviews: Rows[GivenReview] | None = None
    """Only these are measured; nothing is asked."""
    limits: Limits = Limits()
    concurrency: Annotated[int, Field(ge=1, le=256)] | None = None
    fail_on_error: bool | Annotated[float, Field(ge=0)] = False
    """true: the first errored item fails the run; below 1: a share of them; else a count."""
    judges: Annotated[list[Judge], Field(max_length=8)] | None = None
    """In the place of the eval's (a run resumed with another judge)."""
    openai: dict[str, Any] | None = None
    """`data_source` of OpenAI's API, to be told back."""


class RunStatus(StrEnum):
    """The life of a run; the last three are ends."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def over(self) -> bool:
        """Return whether nothing more happens by itself."""
        return self in {RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELED}


class Progress(Told):
    """Counts of items (reviews; answers where nothing is reviewed) and of answers."""

    total: int
    queued: int = Field(description="items whose answers are not all there yet")
    answering: int = Field(description="answers that are being asked for")
    judging: int = Field(description="items that can be or are being judged")
    done: int = Field(description="judged + undecoded + errored")
    judged: int
    undecoded: int = Field(description="the judge's text holds no single readable verdict")
    errored: int = Field(description="a call failed for good")
    passed: int = Field(default=0, description="of those judged by graders that pass or fail")
    failed: int = 0
    answers_total: int
    answered: int


class CallUsage(Told):
    """What finished calls of one kind used, as the server told it."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0


class ModelUsage(CallUsage):
    """The same of one model."""

    model: str


class Usage(Told):
    """What a run used: the candidates' and the judges' part, and each model's."""

    answers: CallUsage = CallUsage()
    judge: CallUsage = CallUsage()
    models: list[ModelUsage] = []
    possibly_repeated: int = Field(
        default=0,
        description="times that a call may have been made in vain, since a controller died over it "
        "or its answer was lost, beside those that brought the answers",
    )


class CallCounts(Told):
    """What a dry run says: how many calls a run would make at this moment."""

    answers: int
    judge: int
    judge_at_most: int = Field(description="with one more try for each verdict that is unreadable")
    prompt_tokens: int = Field(description="expected, as these all but those at most")
    completion_tokens: int
    cost_usd: float | None = Field(description="null: some model's price is not known")
    tokens_at_most: int = Field(
        description="prompts and answers, each answer as long as it may be and each verdict "
        "unreadable at first"
    )
    cost_usd_at_most: float | None
    warnings: list[str] = []


class Run(Told):
    """One execution of an eval."""

    object: Literal["eval.run"] = "eval.run"
    id: str
    eval_id: str
    name: str = ""
    status: RunStatus
    reason: str | None = Field(
        default=None, description="of a canceled run: user, budget or deadline"
    )
    created_at: int = Field(description="Unix seconds")
    started_at: int | None = None
    finished_at: int | None = None
    candidates: list[str]
    progress: Progress
    usage: Usage
    eta_s: float | None = Field(default=None, description="seconds left at the pace so far")
    warnings: list[str] = []
    error: str | None = Field(default=None, description="why the run failed")


class Evaluation(Told):
    """What is measured; lists leave the questions out."""

    object: Literal["eval"] = "eval"
    id: str
    created_at: int = Field(description="Unix seconds")
    question_count: int
    spec: dict[str, Any] = Field(description="an EvalSpec, as JSON")
