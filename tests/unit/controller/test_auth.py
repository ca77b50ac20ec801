from __future__ import annotations

import pytest

from services.controller.access.guard import KeyGuard


async def ask(keys, path="/v1/models", authorization=None):
    """Return the status of a request that passes the guard (200) or does not."""
    statuses = []

    async def app(_scope, _receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message):
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    headers = [] if authorization is None else [(b"authorization", authorization)]
    scope = {"type": "http", "path": path, "headers": headers}
    await KeyGuard(app, keys)(scope, None, send)
    return statuses[0]


@pytest.mark.parametrize("authorization", [b"Bearer one", b"bearer one", b"Bearer two"])
async def test_a_key_lets_through(authorization):
    assert await ask(["one", "two"], authorization=authorization) == 200


@pytest.mark.parametrize(
    "authorization", [None, b"", b"Bearer", b"Bearer ", b"Bearer On", b"one", b"Basic one", b"\xff"]
)
async def test_anything_else_does_not(authorization):
    assert await ask(["one", "two"], authorization=authorization) == 401


async def test_without_keys_everybody_may_ask():
    assert await ask([]) == 200


async def test_health_is_open():
    assert await ask(["one"], path="/health/ready") == 200
    assert await ask(["one"], path="/healthy") == 401
