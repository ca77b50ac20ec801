"""A program on a terminal of its own: what it shows can be waited for, keys can be pressed."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Self

CTRL_C = "\x03"
CTRL_D = "\x04"
ENTER = "\r"
PROMPT = ">"
# Without a session of its own Ctrl-C would be sent to no one.
_ON_ITS_TERMINAL = "import os, sys; os.login_tty(0); os.execvp(sys.argv[1], sys.argv[1:])"
_SEQUENCES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|\r")


class TerminalProcess:
    """A context: leaving it ends the program."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._keyboard, its_side = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _ON_ITS_TERMINAL, *command],
            stdin=its_side,
            stdout=its_side,
            stderr=its_side,
            env={**environment, "TERM": "xterm-256color", "PROMPT_TOOLKIT_NO_CPR": "1"},
        )
        os.close(its_side)
        self.raw = ""
        self._seen = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._keyboard)

    @property
    def text(self) -> str:
        """All that was shown, without colours and cursor movements."""
        return _SEQUENCES.sub("", self.raw)

    def press(self, keys: str) -> None:
        os.write(self._keyboard, keys.encode())

    def enter(self, line: str) -> None:
        """Wait for the prompt, which alone takes keys as keys, and type a line."""
        self.expect(PROMPT)
        self.press(line + ENTER)

    def expect(self, words: str, seconds: float = 30.0) -> None:
        """Wait until `words` are shown behind what was expected before."""
        deadline = time.monotonic() + seconds
        while (found := self.text.find(words, self._seen)) < 0:
            self._read(deadline, f"no {words!r}")
        self._seen = found + len(words)

    def ends(self, seconds: float = 30.0) -> int:
        """Wait for the end and return the exit code."""
        deadline = time.monotonic() + seconds
        while self._process.poll() is None:
            try:
                self._read(deadline, "no end")
            except EOFError:
                break
        return self._process.wait(seconds)

    def _read(self, deadline: float, missing: str) -> None:
        ready, _, _ = select.select([self._keyboard], [], [], max(0, deadline - time.monotonic()))
        if not ready:
            msg = f"{missing} in {self.text[self._seen :]!r}"
            raise TimeoutError(msg)
        try:
            self.raw += os.read(self._keyboard, 65536).decode(errors="replace")
        except OSError:  # Linux's way to say that nobody holds the other side
            msg = f"{missing} before the end in {self.text[self._seen :]!r}"
            raise EOFError(msg) from None
