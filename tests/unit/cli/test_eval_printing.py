"""What is printed of an eval: on any terminal, whatever the texts hold."""

from __future__ import annotations

import io
import sys

import pytest

from services.cli.eval.printing import print_lines


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [("ascii", "caf\\xe9 \\u2728\n"), ("latin-1", "café \\u2728\n"), ("utf-8", "café ✨\n")],
)
def test_what_a_terminal_does_not_have_is_escaped(monkeypatch, encoding, shown):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    print_lines(["café ✨"])
    sys.stdout.flush()
    assert written.getvalue().decode(encoding) == shown
