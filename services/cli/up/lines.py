"""Cuts a child's output into lines of bounded length.

Owns the bytes that do not make a whole line yet, never more than `limit` of them. Knows neither
processes nor terminals.
"""

from __future__ import annotations

LINE_LIMIT = 4096


class LineSplitter:
    """Feed it chunks as they come; it gives lines as text, the overlong ones shortened."""

    def __init__(self, limit: int = LINE_LIMIT) -> None:
        """Keep at most `limit` bytes of any line."""
        self._limit = limit
        self._held = bytearray()
        self._dropped = 0

    def feed(self, chunk: bytes) -> list[str]:
        """Return the lines that `chunk` completes; the rest waits for the next chunk."""
        *whole, rest = chunk.split(b"\n")
        lines: list[str] = []
        for part in whole:
            self._hold(part)
            lines.append(self._take())
        self._hold(rest)
        return lines

    def finish(self) -> list[str]:
        """Return the last line when the output ended without a newline."""
        return [self._take()] if self._held else []

    def _hold(self, part: bytes) -> None:
        # A progress bar rewrites its line with carriage returns: only its last state is news.
        text = part.rstrip(b"\r")
        last = text.rfind(b"\r") + 1
        if last or (text and self._held.endswith(b"\r")):
            self._held.clear()
            self._dropped = 0
            part = part[last:]
        room = self._limit - len(self._held)
        self._held += part[:room]
        self._dropped += max(0, len(part) - room)

    def _take(self) -> str:
        text = self._held.decode("utf-8", errors="replace").rstrip("\r")
        if self._dropped:
            text += f" … ({self._dropped} bytes more)"
        self._held.clear()
        self._dropped = 0
        return text
