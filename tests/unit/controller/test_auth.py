from __future__ import annotations

import pytest

from services.controller.access.guard import KeyGuard
from shared.errors import Unauthorized


def ask(keys, path="/v1/models", authorization=None):
    """Return the status of a request that passes the guard (200) or does not."""
    headers = [] if authorization is None else [(b"authorization", authorization)]
    try:
        KeyGuard(keys).check({"type": "http", "path": path, "headers": headers})
    except Unauthorized as fault:
        return fault.status
    return 200


@pytest.mark.parametrize("authorization", [b"Bearer one", b"bearer one", b"Bearer two"])
def test_a_key_lets_through(authorization):
    assert ask(["one", "two"], authorization=authorization) == 200


@pytest.mark.parametrize(
    "authorization", [None, b"", b"Bearer", b"Bearer ", b"Bearer On", b"one", b"Basic one", b"\xff"]
)
def test_anything_else_does_not(authorization):
    assert ask(["one", "two"], authorization=authorization) == 401


def test_without_keys_everybody_may_ask():
    assert ask([]) == 200


def test_health_is_open():
    assert ask(["one"], path="/health/ready") == 200
    assert ask(["one"], path="/healthy") == 401
