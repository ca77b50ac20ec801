"""What talks like a Redis and is none: with a clock of its own, or with one refusal for all.

For what a real server cannot be brought to in a test's time.
"""

from __future__ import annotations

import socketserver
import threading
import time
from typing import Any, Self, cast


class RespServer(socketserver.ThreadingTCPServer):
    """`ahead` is how many seconds its clock shows too much; `refusal` answers everything."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, *, ahead: float = 0.0, refusal: str = "") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.ahead, self.refusal = ahead, refusal
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,))

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.server_address[1]}/0"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def answer(self, command: list[bytes]) -> bytes:
        if self.refusal:
            return f"-{self.refusal}\r\n".encode()
        match command[0].upper():
            case b"HELLO":
                return b"%1\r\n" + _bulk("proto") + b":3\r\n"
            case b"TIME":
                now = time.time() + self.ahead
                return b"*2\r\n" + _bulk(str(int(now))) + _bulk(str(int(now % 1 * 1e6)))
            case b"INFO":
                return _bulk("redis_version:7.0.0\r\nused_memory:1000000\r\nmaxmemory:0\r\n")
            case b"EVAL":
                return b"*0\r\n"
            case _:
                return b"+OK\r\n"


class _Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        server = cast("Any", self.server)
        while line := self.rfile.readline():
            parts: list[bytes] = []
            for _ in range(int(line[1:])):
                size = int(self.rfile.readline()[1:])
                parts.append(self.rfile.read(size + 2)[:-2])
            self.wfile.write(server.answer(parts))


def _bulk(text: str) -> bytes:
    return f"${len(text)}\r\n{text}\r\n".encode()
