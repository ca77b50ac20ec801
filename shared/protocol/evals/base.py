"""What the types of the evaluation API have in common: bounds, and how strict they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, GetPydanticSchema, WrapSerializer

MAX_QUESTIONS = 20_000
MAX_CANDIDATES = 26
"""They are told apart by one letter or by a number."""
MAX_ITEMS = 500_000
"""Reviews of one run."""
MAX_TEXT = 32_000
"""Characters of a question, an answer or a system prompt."""
MAX_TURNS = 16

ModelName = Annotated[str, Field(min_length=1, max_length=256)]
Name = Annotated[str, Field(min_length=1, max_length=64)]
Text = Annotated[str, Field(max_length=MAX_TEXT, pattern=r"\S")]
AnyText = Annotated[str, Field(max_length=MAX_TEXT)]

_Row = TypeVar("_Row")
Rows = Annotated[
    Sequence[_Row],
    GetPydanticSchema(lambda rows, schema_of: schema_of(list[get_args(rows)[0]])),
    WrapSerializer(lambda rows, dump: dump(list(rows))),
]
"""A list in JSON, of which there may be very many; whoever keeps them need not keep objects."""


class Asked(BaseModel):
    """A part of a request: strict, so that a slip is a fault and never a surprise."""

    # Inputs are hidden: the texts of questions and answers must not get into a log.
    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
        # What differs in each of a thousand rows is not worth keeping.
        cache_strings="keys",
    )


class Told(BaseModel):
    """A part of an answer: what a newer evaluator adds must not break an older client."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)
