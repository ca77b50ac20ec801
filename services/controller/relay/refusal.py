"""What a worker means that gives no answer: the request is at fault, or the worker is.

Owns the reading of statuses and error frames, and how they are told to a client.
"""

from __future__ import annotations

from typing import Any

import orjson

from shared.errors import LLMZooError, Overloaded, Unavailable, UpstreamFailed
from shared.http.faults import whole_seconds
from shared.protocol.frames import ErrorFrame

_BAD_REQUEST, _UNAUTHORIZED, _FORBIDDEN, _FULL, _SERVER_ERROR = 400, 401, 403, 429, 500


class Refused(Exception):
    """The worker refused the request for the caller's fault; its answer is passed on as it is.

    `worker` is its incarnation.
    """

    worker = ""

    def __init__(self, status: int, body: bytes, retry_after: str = "") -> None:
        """Keep the answer."""
        super().__init__(f"refused with {status}")
        self.status = status
        self.body = body
        self.retry_after = retry_after


def status_fault(status: int, body: bytes, retry_after: str) -> Exception:
    """Return what an answer means whose status is not 200; `retry_after` is its header."""
    ours = status in {_UNAUTHORIZED, _FORBIDDEN, _FULL} or status >= _SERVER_ERROR
    if status < _BAD_REQUEST or ours:
        return _worker_fault(status, float(retry_after) if retry_after.isdigit() else None)
    return Refused(status, body, retry_after)


def error_object(frame: ErrorFrame) -> dict[str, Any]:
    """Return the body that tells a client of an error frame."""
    return {"error": frame.error}


def retry_after_header(frame: ErrorFrame) -> str:
    """Return the header's value, in whole seconds; empty when the worker names no time."""
    return "" if frame.retry_after is None else whole_seconds(frame.retry_after)


def first_frame_fault(frame: ErrorFrame) -> Exception:
    """Return what an error means that comes in place of `start`."""
    if frame.status == _FULL or frame.status >= _SERVER_ERROR:
        return _worker_fault(frame.status, frame.retry_after)
    return Refused(frame.status, orjson.dumps(error_object(frame)), retry_after_header(frame))


def _worker_fault(status: int, retry_after: float | None) -> LLMZooError:
    match status:
        case 429:
            return Overloaded("All places of this model are taken.", retry_after=retry_after or 1.0)
        case 503:
            return Unavailable(
                "The worker is not ready for this model.", retry_after=retry_after or 1.0
            )
        case _:
            return UpstreamFailed(f"The worker answered with status {status}.")
