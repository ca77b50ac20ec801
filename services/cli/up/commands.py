"""`llmzoo up` and `llmzoo down`: composes the supervisor, or ends the one that runs.

Owns the exit codes: 0 for a clean stop, 1 when a zoo already runs or something had to be killed,
2 for a wrong configuration, 130 for a second Ctrl-C. Reads no command line.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from services.cli.up.console import Console
from services.cli.up.lock import RunningZoo, UpLock
from services.cli.up.memory import has_room_beside
from services.cli.up.plan import COMMANDS, Role, ServicePlan, UpOptions, make_plan
from services.cli.up.redis_server import EmbeddedRedis, find_binaries
from services.cli.up.restarts import CONFIGURATION_EXIT_CODE, RestartPolicy
from services.cli.up.state import kept_secret, private_folder
from services.cli.up.supervisor import (
    REDIS_STOP_SECONDS,
    STAGE_SECONDS,
    STOP_MARGIN_SECONDS,
    Supervisor,
    ZooPlan,
)
from shared.errors import AlreadyRunning, ConfigurationError
from shared.http.loopback import is_loopback
from shared.key_file import read_key_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from shared.settings import ZooSettings

DOWN_POLL_SECONDS = 0.1
DOWN_TELL_SECONDS = 5.0


def run_up(
    settings: ZooSettings,
    options: UpOptions,
    *,
    commands: Mapping[Role, tuple[str, ...]] = COMMANDS,
    redis_binaries: Iterable[Path] | None = None,
    policy: RestartPolicy | None = None,
    has_room: Callable[[int], bool] = has_room_beside,
) -> int:
    """Run the zoo until it is stopped, and return the exit code.

    Args:
        settings: what the environment says.
        options: what the command line says.
        commands: the program of each service.
        redis_binaries: servers to try, best first; None searches this machine.
        policy: when to start ended services again; None is the usual one.
        has_room: whether a second process like this one fits into memory.
    """
    console = Console()
    try:
        lock = UpLock(private_folder(settings.state_dir), options.port_offset)
        with lock.hold():
            services = make_plan(settings, options, commands)
            lock.write(_this_zoo(services))
            plan = ZooPlan(
                services=services,
                environment=_environment(settings, console),
                model=options.model or settings.model,
                drain_timeout=settings.drain_timeout,
                redis=_embedded_redis(settings, options.port_offset),
                redis_binaries=find_binaries() if redis_binaries is None else redis_binaries,
                stop_command=lock.stop_command,
                open_browser=options.open_browser,
                policy=policy or RestartPolicy(),
                has_room_beside=has_room,
                control=lock.control,
                beat=settings.heartbeat_interval,
                moved=lambda services: lock.write(_this_zoo(services)),
            )
            return asyncio.run(Supervisor(plan, console).run())
    except AlreadyRunning as fault:
        console.error(fault.message)
        return 1
    except ConfigurationError as fault:
        console.error(fault.message)
        return CONFIGURATION_EXIT_CODE


def run_down(settings: ZooSettings, port_offset: int) -> int:
    """Stop the zoo that runs with this state folder and offset, and return the exit code."""
    console = Console()
    try:
        lock = UpLock(private_folder(settings.state_dir), port_offset)
    except ConfigurationError as fault:
        console.error(fault.message)
        return CONFIGURATION_EXIT_CODE
    if lock.is_free():
        console.say("nothing is running")
        return 0
    running = lock.read()
    if running is None:
        console.error("a zoo is just starting or ending; try again")
        return 1
    console.say(f"stopping the zoo of process {running.pid}")
    try:
        os.kill(running.pid, signal.SIGTERM)
    except ProcessLookupError:
        console.say("it ended meanwhile")
        return 0
    except PermissionError:
        console.error(f"process {running.pid} belongs to another user")
        return 1
    return _wait_until_free(lock, running.pid, _longest_stop(settings), console)


def _wait_until_free(lock: UpLock, pid: int, bound: float, console: Console) -> int:
    started = time.monotonic()
    tell_at = DOWN_TELL_SECONDS
    while True:
        if lock.is_free():
            console.say("stopped")
            return 0
        waited = time.monotonic() - started
        if waited > bound:
            console.error(f"process {pid} still runs after {bound:.0f} s; `kill -9 {pid}` ends all")
            return 1
        if waited > tell_at:
            console.say(f"waiting for running requests to finish ({waited:.0f} s)")
            tell_at += DOWN_TELL_SECONDS
        time.sleep(DOWN_POLL_SECONDS)


def _longest_stop(settings: ZooSettings) -> float:
    """Return the seconds after which even a zoo with hanging services has ended."""
    services = len(Role) * STAGE_SECONDS + settings.drain_timeout + STOP_MARGIN_SECONDS
    return services + REDIS_STOP_SECONDS + STOP_MARGIN_SECONDS


def _environment(settings: ZooSettings, console: Console) -> dict[str, str]:
    """Return what every service gets, beyond its own ports and the embedded Redis' address."""
    token = settings.internal_token.get_secret_value() or kept_secret(
        settings.state_dir / "internal_token"
    )
    environment = {"LLMZOO_INTERNAL_TOKEN": token, "PYTHONUNBUFFERED": "1"}
    if url := settings.redis_url.get_secret_value():
        environment["LLMZOO_REDIS_URL"] = url
    if settings.log_format == "auto" and console.is_terminal:
        # The services write into our pipe, so they cannot see that a person reads along.
        environment["LLMZOO_LOG_FORMAT"] = "console"
    environment.update(_keys(settings, console))
    return environment


def _keys(settings: ZooSettings, console: Console) -> dict[str, str]:
    """Return what the controller asks for beyond the environment, and what its callers send."""
    if settings.api_key.get_secret_value():
        return {}
    if settings.api_keys:
        return {"LLMZOO_API_KEY": settings.api_keys[0].get_secret_value()}
    if settings.api_keys_file is not None:
        fit = [
            line.key
            for line in read_key_file(settings.api_keys_file)
            if not line.scopes or "chat" in line.scopes
        ]
        return {"LLMZOO_API_KEY": fit[0]} if fit else {}
    if is_loopback(settings.controller_host):
        return {}
    # Bound beyond loopback the controller asks for a key, and web UI and evaluator have none.
    file = settings.state_dir / "api_key"
    key = kept_secret(file)
    console.say(f"the controller can be reached from elsewhere: its API key is in {file}")
    return {"LLMZOO_API_KEYS": key, "LLMZOO_API_KEY": key}


def _embedded_redis(settings: ZooSettings, port_offset: int) -> EmbeddedRedis | None:
    if settings.redis_url.get_secret_value():
        return None
    return EmbeddedRedis.prepare(settings.state_dir, port_offset)


def _this_zoo(services: Sequence[ServicePlan]) -> RunningZoo:
    urls = {plan.name: plan.url for plan in services}
    return RunningZoo(os.getpid(), urls, datetime.now(UTC).isoformat(timespec="seconds"))
