"""One request in the logs of all services, at their most talkative: found by its id, not its text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.fakes.chat_request import CHAT

if TYPE_CHECKING:
    from tests.e2e.zoo import Zoo

pytestmark = [pytest.mark.e2e, pytest.mark.model]

MARKER = "quokkaword"
COMMON = {"ts", "level", "service", "msg", "request_id"}
REQUEST = {"method", "path", "status", "duration_ms"}
MODEL = {"model", "worker", "tokens_in", "tokens_out"}
TRACE = "0af7651916cd43dd8448eb211c80319c"


def request_line(zoo: Zoo, service: str, request_id: str) -> dict[str, Any]:
    """Wait for the line that a service has for a request, and for no second one."""

    def found() -> list[dict[str, Any]]:
        return [
            line
            for line in zoo.logged(service)
            if line["msg"] == "request" and line.get("request_id") == request_id
        ]

    zoo.wait_for(found, 10)
    (line,) = found()
    return line


@pytest.mark.parametrize("stream", [True, False])
def test_a_requests_lines_tell_the_same(zoo: Zoo, stream: bool) -> None:
    request_id = f"e2e.{stream}-1"
    headers = {"x-request-id": request_id, "traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
    body = {"model": "demo", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5}
    answer = httpx.post(
        f"{zoo.api}{CHAT}", json={**body, "stream": stream}, headers=headers, timeout=60
    )
    assert answer.headers["x-request-id"] == request_id
    lines = [request_line(zoo, service, request_id) for service in ("controller", "worker")]
    for line in lines:
        assert COMMON | REQUEST | MODEL | {"trace_id"} <= line.keys()
        assert (line["status"], line["model"], line["trace_id"]) == (200, "demo", TRACE)
        assert (line["level"], line["path"]) == ("info", CHAT)
        assert line["tokens_in"] > 0
        assert line["duration_ms"] > 0
        assert 0 < line["tokens_out"] <= 5
    same = ("worker", "tokens_in", "tokens_out")
    assert [lines[0][name] for name in same] == [lines[1][name] for name in same]


def test_a_run_is_followed_through_all_services_and_no_text_is_logged(zoo: Zoo) -> None:
    spec = {
        "name": "logged",
        "questions": [{"text": f"What is a {MARKER}?"}],
        "dimensions": ["general"],
        "mode": "scoring",
        "judge": {"model": "demo", "sampling": {"max_tokens": 16}},
    }
    run = {"candidates": [{"model": "demo"}], "max_tokens": 8}
    before = len(zoo.logged("evaluator"))
    with httpx.Client(base_url=zoo.api, timeout=60) as client:
        created = client.post("/v1/evals", json=spec)
        assert created.status_code == 201, created.text
        accepted = client.post(f"/v1/evals/{created.json()['id']}/runs", json=run)
        assert accepted.status_code == 202, accepted.text
        where = accepted.headers["location"]
        zoo.wait_for(lambda: client.get(where).json()["status"] == "completed", 90)
        ask_wrongly(client)
    calls = [line for line in zoo.logged("evaluator")[before:] if line["msg"] == "call"]
    assert len(calls) >= 2  # an answer and its judgement
    for call in calls:
        assert request_line(zoo, "controller", call["request_id"])["status"] == call["status"]
        assert request_line(zoo, "worker", call["request_id"])["model"] == "demo"
    assert any(line["level"] == "debug" for line in zoo.logged("controller"))
    assert MARKER not in zoo.text.lower()


def ask_wrongly(client: httpx.Client) -> None:
    """Ask what is refused, in ways that tempt to tell what was sent."""
    said = {"role": "user", "content": MARKER}
    chat = {"model": "demo", "messages": [said], "max_tokens": 4}
    for body in (
        {"model": "demo", "messages": MARKER},
        {**chat, "max_tokens": MARKER},
        {**chat, "messages": [{**said, "role": MARKER}]},
        {**chat, MARKER: MARKER},
        {**chat, "messages": [said] * 20_000},
    ):
        client.post(CHAT, json=body)
    client.post(CHAT, content=b'{"model": "demo", "messages": "%b' % MARKER.encode())
    client.post("/tokenize", json={"model": "demo", "prompt": MARKER})
    client.post("/v1/evals", json={"name": MARKER, "questions": MARKER})
    client.post(CHAT, json=chat, headers={"x-request-id": f"{MARKER} with a space"})
