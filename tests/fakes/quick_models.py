"""A server that answers every chat request alike, and costs next to nothing itself."""

from __future__ import annotations

import asyncio

import orjson

SAID = '{"reason": "It says what was asked, and little more.", "score": 7}'


def _answer(content: object) -> bytes:
    body = orjson.dumps(content)
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return head % len(body) + body


_CHAT = _answer(
    {
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": SAID},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 10, "completion_tokens": 3},
    }
)
_MODELS = _answer({"object": "list", "data": [{"id": "judge", "object": "model"}]})


class QuickModels(asyncio.Protocol):
    """One connection: a judge answers after `delay` seconds, and is listed."""

    def __init__(self, delay: float = 0.0) -> None:
        self._delay = delay
        self._held = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._held += data
        while b"\r\n\r\n" in self._held:
            head, _, rest = self._held.partition(b"\r\n\r\n")
            told = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            length = int(told or b"0")
            if len(rest) < length:
                return
            self._held = rest[length:]
            answer = _MODELS if head.startswith(b"GET") else _CHAT
            if self._delay:
                asyncio.get_running_loop().call_later(self._delay, self._write, answer)
            else:
                self._write(answer)

    def _write(self, answer: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(answer)


async def listen(delay: float = 0.0) -> tuple[asyncio.Server, str]:
    """Return the server and its address."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: QuickModels(delay), "127.0.0.1", 0)
    return server, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
