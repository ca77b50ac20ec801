"""What is measured: questions, dimensions and judges, and OpenAI's graders as a kind of dimension.

A body of OpenAI's Evals API becomes an `EvalSpec` too (the evaluator's specs), so that everything
behind knows one shape.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field

from shared.protocol.evals.base import (
    MAX_QUESTIONS,
    MAX_TURNS,
    AnyText,
    Asked,
    ModelName,
    Name,
    Rows,
    Text,
)


class Mode(StrEnum):
    """What a judge is asked for: an order of all answers, a score for each, the better of two."""

    ORDERING = "ordering"
    SCORING = "scoring"
    PAIRWISE = "pairwise"


class Swap(StrEnum):
    """In which orders a judge sees the same answers."""

    NONE = "none"
    """As the candidates are listed."""
    BOTH = "both"
    """So, and turned round."""
    ROTATE = "rotate"
    """Each candidate stands in each place once; for two the same as `both`."""


class Message(Asked):
    """One message of a prompt."""

    role: Literal["system", "developer", "user", "assistant"]
    content: AnyText


class Question(Asked):
    """One question; a spec that was read has an id for each, its place from 1 if it had none."""

    id: Name | None = None
    turns: Annotated[list[Text], Field(min_length=1, max_length=MAX_TURNS)]
    """What the user says, turn by turn; a `text` in a request is one turn."""
    category: Name | None = None
    language: Name | None = None
    """Language tag, such as `en` or `zh`."""
    references: list[AnyText] | None = None
    """Right answers that a judge is shown and reference metrics compare with."""
    messages: list[Message] | None = None
    """The whole prompt, in the place of `turns` (OpenAI's runs); `turns` is its last user text."""
    item: dict[str, Any] | None = None
    """The row of the dataset that graders' templates read (OpenAI's runs)."""

    @property
    def text(self) -> str:
        """Return the turns as one text."""
        return "\n\n".join(self.turns)


class JudgeSampling(Asked):
    """How a judge writes."""

    max_tokens: Annotated[int, Field(ge=16, le=32_768)] = 512
    max_completion_tokens: Annotated[int, Field(ge=16, le=131_072)] | None = None
    """In the place of `max_tokens`, for models that take no other (OpenAI's that reason)."""
    temperature: Annotated[float, Field(ge=0, le=2)] | None = 0.0
    """null: left to the server, for models that take only their own."""
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: int | None = None


class Judge(Asked):
    """A model that reads the answers; one of an external endpoint is named `endpoint/model`."""

    model: ModelName
    sampling: JudgeSampling = JudgeSampling()
    response_format: Literal["auto", "json_schema", "text"] = "auto"
    """auto: by schema where the judge's server takes one, else as text."""
    logprobs: bool = False
    """Scores weighted by the likelihood of each, where the judge's server tells it."""
    prose: Literal["read", "undecoded"] = "read"
    """Verdicts that stand in sentences alone: read, with low confidence, or left undecoded."""


class Rubric(Asked):
    """A dimension of the user's own: a name, and what the judge is told to look at."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    criteria: Text
    low: Annotated[float, Field(ge=-1000, le=1000)] = 1.0
    high: Annotated[float, Field(ge=-1000, le=1000)] = 10.0


DimensionName = Literal["general", "relevance", "diversity", "coherence", "immersion", "integrity"]


class Grader(Asked):
    """A dimension as OpenAI's Evals have it: one grade of one sample, by a model or by rule."""

    type: Literal["label_model", "score_model", "string_check", "text_similarity"]
    name: Annotated[str, Field(min_length=1, max_length=200)]
    id: str = ""
    """Made when the eval is stored; graders of one eval may have the same name."""
    model: ModelName | None = None
    input: list[Message] | str | None = None
    """Messages with `{{item.…}}` and `{{sample.…}}` for the models, one text for the rules."""
    labels: list[str] | None = None
    passing_labels: list[str] | None = None
    range: tuple[float, float] | None = None
    pass_threshold: float | None = None
    operation: Literal["eq", "ne", "like", "ilike"] | None = None
    reference: str | None = None
    evaluation_metric: str | None = None
    sampling_params: dict[str, Any] | None = None


Metric = Literal[
    "bleu",
    "chrf",
    "ter",
    "rouge",
    "exact_match",
    "similarity",
    "distinct_n",
    "self_bleu",
    "refusal_rate",
    "language_match",
    "latency",
]
"""The first six compare with references."""


class Filter(Asked):
    """To which questions a dimension applies; all given fields must fit."""

    category: list[Name] | None = None
    language: list[Name] | None = None


class EvalSpec(Asked):
    """What is measured, as it is stored: every default stands in it."""

    name: Annotated[str, Field(max_length=200)] = ""
    metadata: dict[str, str] | None = None
    questions: Annotated[Rows[Question], Field(max_length=MAX_QUESTIONS)]
    """Empty if the runs bring theirs (OpenAI's)."""
    dimensions: Annotated[list[DimensionName | Rubric], Field(max_length=32)] = []
    graders: Annotated[list[Grader], Field(max_length=32)] = []
    mode: Mode = Mode.SCORING
    judges: Annotated[list[Judge], Field(max_length=8)] = []
    """Each reviews everything by itself."""
    alone: bool = False
    """scoring: each answer is scored by itself, and no judge sees it beside others."""
    swap: Swap = Swap.NONE
    repeats: Annotated[int, Field(ge=1, le=32)] = 1
    """How often each review is asked for."""
    reference: bool = True
    """Whether judges see a question's references."""
    length_control: bool = True
    """Whether results have ratings without the part of length, beside the plain ones."""
    baseline: Name | None = None
    """pairwise: each other candidate against this one alone, and not all against all."""
    metrics: list[Metric] = []
    """Metrics without a judge."""
    applies_to: dict[str, Filter] = {}
    weights: dict[str, Annotated[float, Field(ge=0)]] = {}
    """Of dimensions in the composite; 1 where nothing is said."""
    openai: dict[str, Any] | None = None
    """The body of OpenAI's API that this spec was read from, to be told back."""

    @property
    def dimension_names(self) -> list[str]:
        """Return the names of dimensions and graders, in the order in which reviews count them."""
        own = [each if isinstance(each, str) else each.name for each in self.dimensions]
        return own + [grader.name for grader in self.graders]
