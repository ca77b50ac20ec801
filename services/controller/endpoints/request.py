"""A client's request, as an endpoint gets it.

Owns what changes on the way: the model's name and the headers. Nothing of the client's own
headers goes on but the request id and W3C's of the trace, and none of ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from services.controller.endpoints.usage import Usage, guess
from services.controller.relay.call import Call
from shared.http.operations import VERSION
from shared.protocol.body import parse_object
from shared.protocol.request_id import REQUEST_ID_HEADER

_API = "/v1"
_FIXED = {
    "content-type": "application/json",
    # The bytes are passed on as they are.
    "accept-encoding": "identity",
    "user-agent": f"llmzoo/{VERSION}",
}


@dataclass(frozen=True, slots=True)
class EndpointRequest:
    """What is sent, but for the key; `guess` is what it may come to."""

    path: str
    headers: dict[str, str]
    body: bytes
    guess: Usage


def endpoint_request(call: Call, model: str) -> EndpointRequest:
    """Return the request for a model as its server spells it.

    The body is parsed again and written once; all but the model's name keeps its value.
    """
    body = parse_object(call.body)
    body["model"] = model
    accept = "text/event-stream" if call.stream else "application/json"
    return EndpointRequest(
        call.path.removeprefix(_API),
        {**_FIXED, "accept": accept, REQUEST_ID_HEADER: call.id, **call.trace.headers},
        orjson.dumps(body),
        guess(body, len(call.body)),
    )
