"""Taking a worker out of service and back: what the controller asks of it.

Owns the path and the body.
"""

from __future__ import annotations

import orjson

from shared.errors import InvalidRequest
from shared.protocol.body import parse_object

DRAIN_PATH = "/internal/drain"


def drain_body(*, draining: bool) -> bytes:
    """Return the body that asks for it, or takes it back."""
    return orjson.dumps({"draining": draining})


def parse_drain(raw: bytes) -> bool:
    """Return whether the worker is to drain.

    Raises:
        InvalidRequest: the body does not say.
    """
    draining = parse_object(raw).get("draining")
    if not isinstance(draining, bool):
        msg = "'draining' must be true or false."
        raise InvalidRequest(msg, param="draining")
    return draining
