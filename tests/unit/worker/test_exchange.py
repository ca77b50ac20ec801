from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from services.worker.exchange import send_events, send_whole
from shared.protocol.frames import (
    EndFrame,
    ErrorFrame,
    Frame,
    KeepaliveFrame,
    StartFrame,
    TokensFrame,
)

START = StartFrame("id", 1, "model", 2, 3, "fp")
HELD, SHOWN = TokensFrame(1, 0, (5,), b""), TokensFrame(2, 0, (6,), b"data: x\n\n")
END = EndFrame(["stop"], 3, 2, b"data: [DONE]\n\n")
FULL = ErrorFrame(503, {"message": "stopping"}, 1.2)


class Client:
    """Keeps what was sent."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    @property
    def head(self) -> tuple[int, dict[bytes, bytes]]:
        return self.sent[0]["status"], dict(self.sent[0]["headers"])

    @property
    def body(self) -> list[bytes]:
        *more, last = self.sent[1:]
        assert all(message["more_body"] for message in more)
        assert not last["more_body"]
        return [message["body"] for message in self.sent[1:]]


async def source(*frames: Frame) -> AsyncIterator[Frame]:
    for frame in frames:
        yield frame


@pytest.fixture
def client() -> Client:
    return Client()


async def test_events(client):
    await send_events(source(START, HELD, SHOWN, END), client.send)
    assert client.head[1][b"content-type"] == b"text/event-stream; charset=utf-8"
    assert client.body == [SHOWN.data, END.data]


async def test_a_comment_after_a_long_silence(client):
    frames = source(START, KeepaliveFrame(), KeepaliveFrame(), END)
    await send_events(frames, client.send, keepalive_seconds=0)
    assert client.body == [b": keepalive\n\n"] * 2 + [END.data]


async def test_no_comment_after_a_short_silence(client):
    await send_events(source(START, KeepaliveFrame(), END), client.send)
    assert client.body == [END.data]


async def test_an_error_in_a_stream_ends_it_without_done(client):
    await send_events(source(START, SHOWN, FULL), client.send)
    assert client.body == [SHOWN.data, b'data: {"error":{"message":"stopping"}}\n\n']


async def test_a_whole_body(client):
    end = EndFrame(["stop"], 3, 2, b"{}")
    await send_whole(source(START, HELD, KeepaliveFrame(), end), client.send)
    assert client.head[0] == 200
    assert client.body == [b"{}"]


async def test_an_error_instead_of_a_whole_body(client):
    await send_whole(source(START, FULL), client.send)
    status, headers = client.head
    assert (status, headers[b"retry-after"]) == (503, b"2")
    assert orjson.loads(client.body[0]) == {"error": {"message": "stopping"}}
