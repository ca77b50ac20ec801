"""`llmzoo doctor`: all findings in their order, as lines or as JSON.

Owns the order and the exit code. What is looked at is in `machine`, `software` and `fleet`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict

import orjson

from services.cli.doctor import fleet, machine, software
from services.cli.doctor.check import Check, Status
from services.cli.failures import ExitCode
from shared.errors import ConfigurationError
from shared.settings import ClientSettings, WorkerSettings, ZooSettings, load

_COLOURS = {Status.OK: "32", Status.WARN: "33", Status.FAIL: "31"}


def run(*, as_json: bool) -> ExitCode:
    """Look at everything and print it; a failed check is a failure."""
    checks: list[Check] = []
    for check in findings():
        checks.append(check)
        if not as_json:
            print(line(check, coloured=_coloured()), flush=True)
    well = all(check.status is not Status.FAIL for check in checks)
    if as_json:
        print(orjson.dumps({"ok": well, "checks": [asdict(check) for check in checks]}).decode())
    return ExitCode.OK if well else ExitCode.FAILURE


def findings() -> Iterator[Check]:
    """Yield the findings, the quick ones first."""
    yield software.platform_line()
    yield software.python()
    yield machine.processor()
    yield machine.memory()
    yield from _with_settings(_of_worker)
    yield from _with_settings(_of_zoo)
    yield machine.gpu()
    yield software.torch()


def line(check: Check, *, coloured: bool) -> str:
    """Return the finding as a line, with its fix on a second one."""
    word = check.status.value.ljust(4)
    if coloured:
        word = f"\x1b[{_COLOURS[check.status]}m{word}\x1b[0m"
    text = f"{word}  {check.name}: {check.found}"
    return f"{text}\n      fix: {check.fix}" if check.fix else text


def _with_settings(look: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    """Yield what `look` finds; a wrong variable is a finding too."""
    try:
        yield from look()
    except ConfigurationError as fault:
        yield Check("settings", Status.FAIL, fault.message, "correct the variable")


def _of_worker() -> Iterator[Check]:
    settings = load(WorkerSettings)
    yield machine.folder("model cache", settings.cache_dir, "LLMZOO_CACHE_DIR")
    yield software.model(settings.model)


def _of_zoo() -> Iterator[Check]:
    zoo = load(ZooSettings)
    yield machine.folder("state folder", zoo.state_dir, "LLMZOO_STATE_DIR")
    yield software.redis(zoo.redis_url.get_secret_value())
    yield from fleet.wanted_ports(zoo)
    yield fleet.controller(load(ClientSettings))


def _coloured() -> bool:
    from rich.console import Console  # noqa: PLC0415 - knows NO_COLOR and dumb terminals

    console = Console()
    return sys.stdout.isatty() and not console.no_color and not console.is_dumb_terminal
