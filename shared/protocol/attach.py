"""Attaching: taking over the frames of an answer that a worker holds, from whoever had them.

    answer       id of the answer
    after        number of the last `tokens` frame whose bytes the client has; 0: none
    key          id of the API key that the answer belongs to; empty: none was needed
    body_digest  of the request's body

The answer is a stream of frames as ever: `start`, one `ledger` frame with the tokens up to
`after`, then the frames that follow it. Whoever read them before gets an `error` frame that says
TakenOver. Owns this body's shape and the header by which a worker learns the key.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Any

import orjson
from pydantic import Field, ValidationError

from shared.protocol.validation import Strict, as_invalid_request

ATTACH_PATH = "/internal/attach"
KEY_HEADER = "x-llmzoo-key"
"""Carries the id of the caller's API key from a controller to a worker, also with an abort."""


class AttachRequest(Strict):
    """Body of `POST /internal/attach`."""

    answer: Annotated[str, Field(min_length=1, max_length=256)]
    after: Annotated[int, Field(ge=0, lt=2**32)]
    key: Annotated[str, Field(max_length=256)]
    body_digest: Annotated[str, Field(max_length=64)]


def parse_attach(body: dict[str, Any]) -> AttachRequest:
    """Return the validated request.

    Raises:
        InvalidRequest: names the first field that does not fit.
    """
    try:
        return AttachRequest.model_validate(body)
    except ValidationError as fault:
        raise as_invalid_request(fault) from None


def encode_attach(answer: str, after: int, key: str, body: dict[str, Any]) -> bytes:
    """Return the request's bytes; `body` is that of the request which the answer answers."""
    digest = body_digest(body)
    return orjson.dumps({"answer": answer, "after": after, "key": key, "body_digest": digest})


def body_digest(body: dict[str, Any]) -> str:
    """Return a digest that is the same however the body's JSON was written."""
    return hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()
