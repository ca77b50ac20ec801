"""Server-sent events: the bytes of one event, and a decoder for a stream of them.

Owns the wire form (WHATWG HTML, 9.2). Knows nothing of what the data mean.
"""

from __future__ import annotations

from collections.abc import Iterator

import orjson

DONE = b"data: [DONE]\n\n"
"""OpenAI's end-of-stream event."""


def event(data: object) -> bytes:
    """Return one event whose data is the JSON of `data`."""
    return b"data: " + orjson.dumps(data) + b"\n\n"


class SSEDecoder:
    """Turns pieces of a byte stream into the data of complete events.

    Multi-line data are joined by a newline; comments and fields but `id` and `event` are skipped. A
    line is bounded by `max_bytes`, so a peer that never ends one cannot grow memory.

    Attributes:
        last_event_id: the last id told up to and with the event that was yielded last; empty
            when none was, or when it was taken back.
        event: the type of the event that was yielded last; empty where none was named.
    """

    def __init__(self, max_bytes: int = 16 * 1024 * 1024) -> None:
        """Start with an empty buffer."""
        self.last_event_id = b""
        self.event = b""
        self._id = b""
        self._event = b""
        self._buffer = b""
        self._data: list[bytes] = []
        self._max_bytes = max_bytes

    def reconnected(self) -> None:
        """Begin another stream: what was half read is forgotten, the last id is not."""
        self._id = self.last_event_id
        self._event = b""
        self._buffer = b""
        self._data = []

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """Yield the data of each event that `piece` completes.

        Raises:
            ValueError: a line exceeds the bound.
        """
        self._buffer += piece
        *lines, self._buffer = self._buffer.split(b"\n")
        if len(self._buffer) > self._max_bytes:
            msg = f"an SSE line is longer than {self._max_bytes} bytes"
            raise ValueError(msg)
        for line in lines:
            stripped = line.rstrip(b"\r")
            if not stripped:
                self.last_event_id = self._id
                self.event, self._event = self._event, b""
                if self._data:
                    yield b"\n".join(self._data)
                    self._data = []
            elif stripped.startswith(b"data:"):
                self._data.append(stripped[5:].removeprefix(b" "))
            elif stripped.startswith(b"id:") and b"\0" not in stripped:
                self._id = stripped[3:].removeprefix(b" ")
            elif stripped == b"id":
                self._id = b""
            elif stripped.startswith(b"event:"):
                self._event = stripped[6:].removeprefix(b" ")
