"""W3C's header `traceparent`: what one looks like, and the trace that it names."""

from __future__ import annotations

import re

TRACE_PARENT = "traceparent"
_PARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_TRACE = slice(3, 35)


def is_trace_parent(value: bytes) -> bool:
    """Return whether a header's value is one; what is none is not passed on."""
    return _PARENT.fullmatch(value) is not None


def trace_id(parent: bytes) -> str:
    """Return the id of the trace in the value of a header that is one."""
    return parent[_TRACE].decode("ascii")
