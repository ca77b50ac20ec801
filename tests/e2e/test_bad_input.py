"""A thousand bad requests and a hundred broken-off streams cost nobody anything."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from typing import TYPE_CHECKING, Any

import httpx
import orjson
import pytest

from tests.e2e.zoo import get
from tests.fakes.scrape import sample

if TYPE_CHECKING:
    from tests.e2e.zoo import Zoo

pytestmark = [pytest.mark.e2e, pytest.mark.model]

GOOD: dict[str, Any] = {"model": "demo", "messages": [{"role": "user", "content": "Hi"}]}
PLAIN: dict[str, Any] = {"model": "demo", "prompt": "Hi"}
LONG = "word " * 30_000

# path, body (bytes are sent as they are), the parameter that the error must name
BAD: list[tuple[str, Any, str | None]] = [
    ("chat/completions", b"", None),
    ("chat/completions", b"{", None),
    ("chat/completions", b"[1]", None),
    ("chat/completions", b'{"model": "demo", "messages": "\xff\xfe"}', None),
    ("chat/completions", b'{"model": "demo", "temperature": NaN}', "temperature"),
    ("chat/completions", {"messages": GOOD["messages"]}, "model"),
    ("chat/completions", {**GOOD, "model": 5}, "model"),
    ("chat/completions", {**GOOD, "model": "unknown"}, "model"),
    ("chat/completions", {"model": "demo"}, "messages"),
    ("chat/completions", {**GOOD, "messages": []}, "messages"),
    ("chat/completions", {**GOOD, "messages": [{"role": "ghost", "content": "x"}]}, "messages"),
    ("chat/completions", {**GOOD, "messages": [{"role": "user"}]}, "messages"),
    ("chat/completions", {**GOOD, "messages": [{"role": "user", "content": LONG}]}, "messages"),
    ("chat/completions", {**GOOD, "max_tokens": 0}, "max_tokens"),
    ("chat/completions", {**GOOD, "max_tokens": -1}, "max_tokens"),
    ("chat/completions", {**GOOD, "max_tokens": 10_000_000}, "max_tokens"),
    ("chat/completions", {**GOOD, "max_completion_tokens": 10_000_000}, "max_completion_tokens"),
    ("chat/completions", {**GOOD, "temperature": 3}, "temperature"),
    ("chat/completions", {**GOOD, "temperature": "hot"}, "temperature"),
    ("chat/completions", {**GOOD, "top_p": 2}, "top_p"),
    ("chat/completions", {**GOOD, "n": 0}, "n"),
    ("chat/completions", {**GOOD, "n": 1000}, "n"),
    ("chat/completions", {**GOOD, "stop": 5}, "stop"),
    ("chat/completions", {**GOOD, "stop": ["a"] * 5}, "stop"),
    ("chat/completions", {**GOOD, "seed": "x"}, "seed"),
    ("chat/completions", {**GOOD, "logit_bias": {"a": 1}}, "logit_bias"),
    ("chat/completions", {**GOOD, "top_logprobs": 50}, "top_logprobs"),
    ("chat/completions", {**GOOD, "presence_penalty": 9}, "presence_penalty"),
    ("chat/completions", {**GOOD, "frequency_penalty": []}, "frequency_penalty"),
    ("chat/completions", {**GOOD, "stream": "yes"}, "stream"),
    ("chat/completions", {**GOOD, "stream_options": {}}, "stream_options"),
    ("chat/completions", {**GOOD, "response_format": {"type": "json_object"}}, "response_format"),
    ("chat/completions", {**GOOD, "tools": [{"type": "function"}]}, "tools"),
    ("chat/completions", {**GOOD, "frobnicate": 1}, "frobnicate"),
    ("chat/completions", b"{" + b" " * 3_000_000 + b"}", None),
    ("completions", {"model": "demo"}, "prompt"),
    ("completions", {**PLAIN, "prompt": 5}, "prompt"),
    ("completions", {**PLAIN, "prompt": []}, "prompt"),
    ("completions", {**PLAIN, "prompt": [10_000_000]}, "prompt"),
    ("completions", {**PLAIN, "prompt": LONG}, "prompt"),
    ("completions", {**PLAIN, "max_tokens": 0}, "max_tokens"),
    ("completions", {**PLAIN, "best_of": 0}, "best_of"),
    ("completions", {**PLAIN, "echo": "x"}, "echo"),
    ("completions", {**PLAIN, "logprobs": 99}, "logprobs"),
    ("completions", {**PLAIN, "frobnicate": 1}, "frobnicate"),
]


async def test_a_thousand_bad_requests_and_a_hundred_aborted_streams(zoo: Zoo) -> None:
    dice = random.Random(11)
    limits = asyncio.Semaphore(16)
    async with httpx.AsyncClient(base_url=f"{zoo.api}/v1/", timeout=120) as client:

        async def refuse(case: tuple[str, Any, str | None]) -> None:
            path, body, param = case
            content = body if isinstance(body, bytes) else orjson.dumps(body)
            async with limits:
                answer = await client.post(path, content=content)
            assert 400 <= answer.status_code < 500, (case, answer.status_code, answer.text[:500])
            error = answer.json()["error"]
            assert error["message"], case
            assert error["type"]
            named = (error["param"] or "").split(".")[0].split("[")[0]
            assert named == (param or ""), (case, error)
            assert answer.headers["x-request-id"]

        async def abort() -> None:
            body = {**GOOD, "stream": dice.random() < 0.7, "max_tokens": 500}
            async with limits:
                with contextlib.suppress(httpx.ReadTimeout):
                    async with client.stream(
                        "POST",
                        "chat/completions",
                        json=body,
                        timeout=httpx.Timeout(60, read=dice.uniform(0.01, 0.6)),
                    ) as answer:
                        async for _ in answer.aiter_raw():
                            if dice.random() < 0.5:
                                break

        work = [refuse(BAD[number % len(BAD)]) for number in range(1000)]
        work += [abort() for _ in range(100)]
        dice.shuffle(work)
        await asyncio.gather(*work)
        good = await client.post("chat/completions", json={**GOOD, "max_tokens": 5})
        assert good.status_code == 200, good.text
    worker = zoo.worker
    zoo.wait_for(lambda: not in_flight(zoo.api) and not in_flight(worker), 20)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/chat/completions", 405),
        ("DELETE", "/v1/models", 405),
        ("POST", "/v1/nothing", 404),
        ("GET", "/v1/models/unknown", 404),
        ("GET", "/nothing", 404),
    ],
)
def test_other_paths_and_methods(zoo: Zoo, method: str, path: str, status: int) -> None:
    answer = httpx.request(method, f"{zoo.api}{path}")
    assert answer.status_code == status
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "wire",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: -5\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{",
    ],
)
def test_bytes_that_are_no_request_harm_nobody(zoo: Zoo, wire: bytes) -> None:
    with socket.create_connection(("127.0.0.1", 8000 + zoo.offset), timeout=5) as sock:
        sock.sendall(wire)
    assert get(f"{zoo.api}/health/ready")[0] == 200


def in_flight(url: str) -> float:
    """Return the sum of a service's gauges of running and waiting work."""
    text = get(f"{url}/metrics")[1].decode()
    gauges = ("inflight_requests", "num_requests_running", "num_requests_waiting")
    return sum(sample(text, f"llmzoo_{gauge}") for gauge in gauges)
