"""A transport that sends the head of an answer together with what follows it.

uvicorn writes them one after the other, each with a system call of its own, which is a good part
of what a short answer costs. Owns the one piece that is held back, at most until the event loop
comes round. Knows no HTTP but the first bytes of a head.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

_HEAD, _INTERIM = b"HTTP/1.1 ", b"HTTP/1.1 1"
Data = bytes | bytearray | memoryview


class CorkedTransport(asyncio.Transport):
    """Stands before the real transport."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        """Write to `transport`."""
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._held = b""

    def write(self, data: Data) -> None:
        """Send, or hold back what is a head."""
        if self._held:
            data, self._held = self._held + data, b""
        elif data[:9] == _HEAD and data[:10] != _INTERIM:
            self._held = bytes(data)
            self._loop.call_soon(self._flush)
            return
        self._transport.write(data)

    def writelines(self, list_of_data: Iterable[Data]) -> None:
        """Send several pieces as one."""
        self.write(b"".join(list_of_data))

    def close(self) -> None:
        """Close once all is sent."""
        self._flush()
        self._transport.close()

    def write_eof(self) -> None:
        """Close the sending side once all is sent."""
        self._flush()
        self._transport.write_eof()

    def abort(self) -> None:
        """Close at once; what is held back is lost, as what the system holds is."""
        self._held = b""
        self._transport.abort()

    def _flush(self) -> None:
        if self._held:
            held, self._held = self._held, b""
            self._transport.write(held)

    # The rest is the real transport's.

    def can_write_eof(self) -> bool:
        """See `asyncio.WriteTransport`."""
        return self._transport.can_write_eof()

    def is_closing(self) -> bool:
        """See `asyncio.BaseTransport`."""
        return self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """See `asyncio.BaseTransport`."""
        return self._transport.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """See `asyncio.BaseTransport`."""
        self._transport.set_protocol(protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """See `asyncio.BaseTransport`."""
        return self._transport.get_protocol()

    def is_reading(self) -> bool:
        """See `asyncio.ReadTransport`."""
        return self._transport.is_reading()

    def pause_reading(self) -> None:
        """See `asyncio.ReadTransport`."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """See `asyncio.ReadTransport`."""
        self._transport.resume_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """See `asyncio.WriteTransport`."""
        self._transport.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        """See `asyncio.WriteTransport`."""
        return self._transport.get_write_buffer_size() + len(self._held)
