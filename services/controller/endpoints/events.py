"""An endpoint's stream of events, passed on without being parsed.

Owns where events end: only whole ones are passed on, so that a stream that breaks off ends with
our error event and not with half of another. Keeps the last ones, which tell usage and the end.
"""

from __future__ import annotations

import re
from collections import deque

import orjson

from services.controller.endpoints.usage import Usage, told
from shared.errors import MalformedAnswer, UpstreamFailed
from shared.protocol.sse import SSEDecoder

MAX_EVENT_BYTES = 4 * 1024 * 1024
_FIELDS = (b"data:", b":", b"event:", b"id:", b"retry:", b"\n", b"\r\n")
_LONGEST_FIELD = 6
_STRANGE = re.compile(rb"\n\r?\n(?!data:|:|event:|id:|retry:|\r?\n|$)")
"""A blank line with something behind it that no event begins with."""

_KEPT = 4
_NOT_FOUND = 2
_DONE = b"[DONE]"


class EventStream:
    """Takes bytes as they come and gives back those that may go on.

    Attributes:
        done: whether the stream's last event came.
        count: how many events came, about; a token each at most servers.
        fault: why nothing more may go on after the events given back last.
    """

    def __init__(self, endpoint: str) -> None:
        """Start before the first event of the stream of `endpoint`."""
        self.done = False
        self.count = 0
        self.fault: MalformedAnswer | None = None
        self._endpoint = endpoint
        self._held = b""
        self._last: deque[bytes] = deque(maxlen=_KEPT)

    def feed(self, piece: bytes) -> bytes:
        """Return the events that `piece` completes, up to a `fault`."""
        data = self._held + piece if self._held else piece
        end = _whole_events(data)
        whole = data[:end]
        self._hold(data[end:])
        if not whole:
            return b""
        self._last.append(whole)
        self.count += whole.count(b"data:")
        self.done = whole.rstrip().endswith(_DONE)
        return whole

    def end(self) -> None:
        """Take the end of the answer.

        Raises:
            UpstreamFailed: it came before the end of the stream.
        """
        # A comment may have followed the last event.
        self.done = self.done or _DONE in self._data()
        if not self.done:
            raise UpstreamFailed(f"The endpoint '{self._endpoint}' broke off its stream.")

    def usage(self) -> Usage | None:
        """Return what the last events tell; None if they tell nothing."""
        found = (told(_parsed(data)) for data in reversed(self._data()))
        return next((usage for usage in found if usage), None)

    def told_error(self) -> bool:
        """Return whether the endpoint itself ended the stream with an error event."""
        data = self._data()
        last = _parsed(data[-1]) if data else None
        return isinstance(last, dict) and "error" in last and "choices" not in last

    def _data(self) -> list[bytes]:
        return list(SSEDecoder().feed(b"".join(self._last)))

    def _hold(self, rest: bytes) -> None:
        self._held = rest
        if len(rest) > MAX_EVENT_BYTES:
            what = "sent an event without an end"
        elif len(rest) >= _LONGEST_FIELD and not rest.startswith(_FIELDS):
            what = "sent something that is no event"
        else:
            return
        self.fault = MalformedAnswer(f"The endpoint '{self._endpoint}' {what}.")


def _whole_events(data: bytes) -> int:
    """Return where the last whole event ends, or the last one before something strange."""
    end = max(data.rfind(b"\n\n") + 2, data.rfind(b"\n\r\n") + 3)
    if end <= _NOT_FOUND or not data.startswith(_FIELDS):
        return 0
    strange = _STRANGE.search(data, 0, end)
    return strange.end() if strange else end


def _parsed(data: bytes) -> object:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
