"""`llmzoo doctor`: all findings in their order, as lines or as JSON.

Owns how a finding is shown, the time that all may take, and the exit code.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

import orjson

from services.cli.doctor.check import Check, Status
from services.cli.doctor.examination import examine
from services.cli.doctor.looks import Examiner
from services.cli.failures import ExitCode

_COLOURS = {Status.OK: "32", Status.WARN: "33", Status.FAIL: "31"}
_SECONDS = 2.0
_INDENT = "\n      "


def run(*, as_json: bool) -> ExitCode:
    """Look at everything and print it; a failed check is a failure."""
    checks: list[Check] = []
    coloured = not as_json and _coloured()
    for check in examine(Examiner(Path.cwd()).looks(), _SECONDS):
        if check in checks:  # a wrong variable is met by several looks
            continue
        checks.append(check)
        if not as_json:
            print(line(check, coloured=coloured), flush=True)
    well = all(check.status is not Status.FAIL for check in checks)
    if as_json:
        print(orjson.dumps({"ok": well, "checks": [asdict(check) for check in checks]}).decode())
    return ExitCode.OK if well else ExitCode.FAILURE


def line(check: Check, *, coloured: bool) -> str:
    """Return the finding as a line, with its fix below it; several commands on lines of their own."""
    word = check.status.value.ljust(4)
    if coloured:
        word = f"\x1b[{_COLOURS[check.status]}m{word}\x1b[0m"
    text = f"{word}  {check.name}: {check.found}"
    if not check.fix:
        return text
    steps = check.fix.splitlines()
    if len(steps) == 1:
        return f"{text}{_INDENT}fix: {check.fix}"
    return _INDENT.join((text, "fix:", *(f"  {step}" for step in steps)))


def _coloured() -> bool:
    from rich.console import Console  # noqa: PLC0415 - knows NO_COLOR and dumb terminals

    console = Console()
    return sys.stdout.isatty() and not console.no_color and not console.is_dumb_terminal
