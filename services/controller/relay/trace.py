"""What of a trace goes with a call: W3C's two headers, passed on whether or not we trace.

Owns their form. Who makes spans is in `tracing`.
"""

from __future__ import annotations

import re

from shared.protocol.trace_context import TRACE_PARENT, is_trace_parent

_STATE = re.compile(rb"[\x20-\x7e]{1,512}")


class Trace:
    """The headers of one call, and nobody who listens."""

    __slots__ = ("headers",)

    def __init__(self, headers: dict[str, str]) -> None:
        """Send `headers` with the call."""
        self.headers = headers

    def used(self, prompt_tokens: int, generated_tokens: int) -> None:
        """Note what the call came to."""


NO_TRACE = Trace({})


def trace_of(headers: dict[bytes, bytes]) -> Trace:
    """Return the trace that a request is a part of; a header that is none is not passed on."""
    parent = headers.get(b"traceparent")
    if parent is None or not is_trace_parent(parent):
        return NO_TRACE
    passed = {TRACE_PARENT: parent.decode("ascii")}
    state = headers.get(b"tracestate")
    if state is not None and _STATE.fullmatch(state):
        passed["tracestate"] = state.decode("ascii")
    return Trace(passed)
