"""What a request's line in the log says, whatever its client sends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from shared.http.request_id import RequestIdMiddleware, facts_of, loggable

TRACE = "0af7651916cd43dd8448eb211c80319c"


def logged(path: str = "/v1/x", *headers: tuple[bytes, bytes]) -> tuple[dict[str, Any], bytes]:
    """Return the line of one request, and the id that its answer carries."""
    sent: list[dict[str, Any]] = []

    async def app(scope, _receive, send):
        facts_of(scope)["tokens_in"] = 3
        await send({"type": "http.response.start", "status": 201})

    async def keep(message):
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "headers": list(headers)}
    with capture_logs(processors=[merge_contextvars]) as lines:
        asyncio.run(RequestIdMiddleware(app)(scope, None, keep))
    (line,) = lines
    return line, dict(sent[0]["headers"])[b"x-request-id"]


def test_a_line_tells_ids_and_what_was_found_out():
    parent = f"00-{TRACE}-b7ad6b7169203331-01".encode()
    line, answered = logged("/v1/x", (b"traceparent", parent), (b"x-request-id", b"mine"))
    assert answered == b"mine"
    assert (line["request_id"], line["trace_id"]) == ("mine", TRACE)
    assert (line["status"], line["path"], line["tokens_in"]) == (201, "/v1/x", 3)


@pytest.mark.parametrize("odd", [b"", b"00-nonsense", b"\xff" * 55])
def test_what_is_no_trace_is_not_told(odd):
    line, _ = logged("/v1/x", (b"traceparent", odd))
    assert "trace_id" not in line


def test_of_two_ids_the_first_that_is_one_counts():
    sent = [(b"x-request-id", each) for each in (b"a b", b"first", b"second")]
    assert logged("/v1/x", *sent)[1] == b"first"


def test_no_client_breaks_a_line_or_fills_the_log():
    line, _ = logged("/v1/x\nERROR all is lost\x1b[31m" + "y" * 100_000)
    assert "\n" not in line["path"]
    assert "\x1b" not in line["path"]
    assert len(line["path"]) < 1100
    assert loggable("Zoë/模型") == "Zoë/模型"
