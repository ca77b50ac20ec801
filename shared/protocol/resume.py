"""Resuming: what a worker needs to go on with an answer that another one has begun.

    path                  the path of the original request, /v1/chat/completions or /v1/completions
    body                  its body, unchanged
    start                 the `start` frame of the worker that began
    token_ids             for each choice, those of all `tokens` frames that were received
    last_sequence_number  of those frames, 0 if there was none
    deterministic         whether only a worker with the same fingerprint may go on

Which choices have ended, and why, follows from the ids and is not told. Owns this body's shape.
What a fault of `body` is, `shared.protocol.openai` says, and names its parameter as ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any, Literal, Self

import orjson
from pydantic import Field, ValidationError, model_validator

from shared.errors import InvalidRequest
from shared.protocol.frames import StartFrame
from shared.protocol.openai import INT64, Text
from shared.protocol.validation import Strict, as_invalid_request

RESUME_PATH = "/internal/resume"
MAX_RESUME_BYTES = 16 * 1024 * 1024
"""What the other fields may take beside `body`: a million token ids, and room."""

Path = Literal["/v1/chat/completions", "/v1/completions"]
TokenId = Annotated[int, Field(ge=0, lt=2**31)]


class ResumeStart(Strict):
    """The `start` frame, see `frames.StartFrame`."""

    id: Annotated[str, Field(min_length=1, max_length=256)]
    created: Annotated[int, Field(ge=0, lt=INT64)]
    model: Text
    seed: Annotated[int, Field(ge=-INT64, lt=INT64)]
    prompt_tokens: Annotated[int, Field(ge=1, lt=2**31)]
    fingerprint: str
    choices: Annotated[int, Field(ge=1, lt=2**16)] = 1
    deterministic: bool = False


class ResumeRequest(Strict):
    """Body of `POST /internal/resume`."""

    path: Path
    body: dict[str, Any]
    start: ResumeStart
    token_ids: Annotated[list[list[TokenId]], Field(min_length=1)]
    last_sequence_number: Annotated[int, Field(ge=0, lt=2**32)]
    deterministic: bool

    @model_validator(mode="after")
    def _frames_and_tokens_agree(self) -> Self:
        # A frame holds one token or more, all of one choice.
        fewest = sum(bool(ids) for ids in self.token_ids)
        most = sum(len(ids) for ids in self.token_ids)
        if not fewest <= self.last_sequence_number <= most:
            msg = (
                f"{most} tokens of {fewest} choices cannot have come in "
                f"{self.last_sequence_number} frames."
            )
            raise InvalidRequest(msg, param="last_sequence_number")
        return self


def parse_resume(body: dict[str, Any]) -> ResumeRequest:
    """Return the validated request.

    Raises:
        InvalidRequest: names the first field that is missing, mistyped, unknown or out of range.
    """
    try:
        return ResumeRequest.model_validate(body)
    except ValidationError as fault:
        raise as_invalid_request(fault) from None


def encode_resume(
    path: Path,
    raw_body: bytes,
    start: StartFrame,
    token_ids: Sequence[Sequence[int]],
    last_sequence_number: int,
    *,
    deterministic: bool,
) -> bytes:
    """Return the request's bytes; `raw_body` is the original body as it came, valid JSON."""
    return orjson.dumps(
        {
            "path": path,
            "body": orjson.Fragment(raw_body),
            "start": asdict(start),
            "token_ids": [list(ids) for ids in token_ids],
            "last_sequence_number": last_sequence_number,
            "deterministic": deterministic,
        }
    )
