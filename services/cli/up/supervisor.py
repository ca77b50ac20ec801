"""Brings the whole zoo up, keeps it up, and takes it down in order.

Owns the order among the services and the signals of the process. How one service is kept running
is `service`'s business; what runs is `plan`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
import webbrowser
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from services.cli.up.announce import announcement, find_chat, find_served_model
from services.cli.up.control import Control
from services.cli.up.first_of import first_of
from services.cli.up.memory import has_room_beside
from services.cli.up.plan import STOP_ORDER, Role, ServicePlan
from services.cli.up.redis_server import NO_SERVER, BinaryUnfit, EmbeddedRedis, check_version
from services.cli.up.replacement import Replacement
from services.cli.up.restarts import CONFIGURATION_EXIT_CODE, RestartPolicy
from services.cli.up.running import Running
from services.cli.up.service import SupervisedService
from shared.errors import ConfigurationError, RedisUnavailable
from shared.settings import child_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from services.cli.up.console import Console

# A service that drains for long must not keep the next from draining too.
STAGE_SECONDS = 5.0
# Beyond the drain itself: closing connections, withdrawing, the interpreter's own end.
STOP_MARGIN_SECONDS = 5.0
REDIS_STOP_SECONDS = 10.0
# The longest that the start of one service holds up the next.
STAGGER_SECONDS = 3.0
# A server that says neither PONG nor LOADING for so long is none.
REDIS_SILENCE_SECONDS = 10.0
INTERRUPTED_EXIT_CODE = 130


class StopRequested(Exception):
    """A signal asked for the end."""


@dataclass(frozen=True, slots=True)
class ZooPlan:
    """All that the supervisor is told: services, Redis, environment, manners."""

    services: tuple[ServicePlan, ...]
    environment: Mapping[str, str]
    model: str
    drain_timeout: float
    control: Path
    """Socket on which restarts are asked for."""

    beat: float = 1.0
    """Seconds between two heartbeats of a service."""

    redis: EmbeddedRedis | None = None
    redis_binaries: Iterable[Path] = ()
    stop_command: str = "llmzoo down"
    open_browser: bool = False
    policy: RestartPolicy = field(default_factory=RestartPolicy)
    has_room_beside: Callable[[int], bool] = has_room_beside
    moved: Callable[[Sequence[ServicePlan]], None] = lambda _: None
    """Told what runs where, after a service was replaced."""


class Supervisor:
    """Runs one `ZooPlan` from its start to its end."""

    def __init__(self, plan: ZooPlan, console: Console) -> None:
        """Prepare; nothing starts before `run`."""
        self._plan = plan
        self._console = console
        self._running = Running(console, plan.policy)
        self._redis: SupervisedService | None = None
        self._stop = asyncio.Event()
        self._killed = False

    async def run(self) -> int:
        """Run until a signal or a hopeless service; returns the exit code."""
        self._listen_for_signals()
        exit_code = 0
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._wait_for_stop())
                group.create_task(self._bring_up(group))
        except* StopRequested:
            pass
        except* ConfigurationError as faults:
            self._console.error(str(faults.exceptions[0]))
            exit_code = CONFIGURATION_EXIT_CODE
        finally:
            self._stop.set()  # from here on Ctrl-C means: at once
            obeyed = await self._take_down()
        if self._killed:
            return INTERRUPTED_EXIT_CODE
        return exit_code or (0 if obeyed else 1)

    async def _bring_up(self, group: asyncio.TaskGroup) -> None:
        environment = self._plan.environment
        for plan in self._plan.services:
            self._running.hold(plan)
        control = Control(self._plan.control, group)
        group.create_task(control.serve())
        if self._plan.redis is not None:
            await self._start_redis(self._plan.redis)
            environment = {**environment, "LLMZOO_REDIS_URL": self._plan.redis.url}
        self._running.environment = environment
        for plan in self._plan.services:
            service = self._running.start(plan).service
            group.create_task(service.ended())
            if plan.role is not Role.WORKER:
                # One after the other, so that the workers' long start has a core for itself.
                # Not `wait_for`: it forgets a cancellation that comes together with the result.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(STAGGER_SECONDS):
                        await service.ready.wait()
        await self._all_up()
        control.open_to(self._replacement(group).restart)
        await self._announce()

    async def _all_up(self) -> None:
        """Wait until all are ready; of the workers one, and the others unless they wait for it."""
        for runner in self._running.runners:
            if runner.plan.role is not Role.WORKER:
                await runner.service.ready.wait()
        workers = self._running.of(Role.WORKER)
        await first_of(*(worker.ready.wait() for worker in workers))
        for worker in workers:
            await first_of(worker.ready.wait(), worker.waits.wait())

    def _replacement(self, group: asyncio.TaskGroup) -> Replacement:
        return Replacement(
            self._running,
            group,
            beat=self._plan.beat,
            grace=self._plan.drain_timeout + STOP_MARGIN_SECONDS,
            has_room_beside=self._plan.has_room_beside,
            moved=lambda: self._plan.moved(self._running.plans),
        )

    async def _start_redis(self, redis: EmbeddedRedis) -> None:
        for binary in self._plan.redis_binaries:
            try:
                version = await asyncio.to_thread(check_version, binary)
            except BinaryUnfit as reason:
                self._console.say(f"{binary} is passed over: {reason}", "redis")
                continue
            self._console.say(f"{binary} {version}, data in {redis.folder}", "redis")
            self._redis = SupervisedService(
                "redis",
                [str(binary), str(redis.config_file)],
                child_environment({}),
                redis.probe(),
                console=self._console,
                policy=self._plan.policy,
                must_start=True,
                # Unlike the services it holds data: let it write them out.
                orphan_signal=signal.SIGTERM,
            )
            self._redis.begin()
            if await _answers(self._redis):
                return
            await self._redis.stop(REDIS_STOP_SECONDS)
            reason = self._redis.last_words.rpartition("\n")[2] or "it does not answer"
            self._console.say(f"{binary} is passed over: {reason}", "redis")
            self._redis = None
        raise RedisUnavailable(NO_SERVER, param="LLMZOO_REDIS_URL")

    async def _announce(self) -> None:
        plan = self._plan
        model = await find_served_model(plan.services, plan.model)
        self._console.announce(announcement(plan.services, model, plan.stop_command))
        chat = find_chat(plan.services)
        if plan.open_browser and chat is not None:
            # A text browser would block; a daemon thread does not keep the zoo from its end.
            threading.Thread(target=webbrowser.open, args=(chat.url,), daemon=True).start()

    async def _take_down(self) -> bool:
        """Stop callers before the ones they call, Redis last; returns whether all obeyed."""
        grace = self._plan.drain_timeout + STOP_MARGIN_SECONDS
        self._running.let_go()
        stops: list[asyncio.Task[bool]] = []
        for role in STOP_ORDER:
            stage = [asyncio.create_task(service.stop(grace)) for service in self._running.of(role)]
            stops += stage
            if stage:
                await asyncio.wait(stage, timeout=STAGE_SECONDS)
        obeyed = all(await asyncio.gather(*stops))
        if self._redis is not None:
            obeyed = await self._redis.stop(REDIS_STOP_SECONDS) and obeyed
        if self._plan.redis is not None:
            self._plan.redis.remove_socket()
        return obeyed

    async def _wait_for_stop(self) -> None:
        await self._stop.wait()
        raise StopRequested

    def _listen_for_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores SIGHUP: keep that
                loop.add_signal_handler(number, self._on_signal, number)

    def _on_signal(self, number: signal.Signals) -> None:
        if not self._stop.is_set():
            self._console.say("stopping; Ctrl-C once more kills at once")
            self._stop.set()
        elif number == signal.SIGINT:
            self._killed = True
            self._console.say("killing what still runs")
            for service in [each.service for each in self._running.runners] + [self._redis]:
                if service is not None:
                    service.kill()


async def _answers(redis: SupervisedService) -> bool:
    """Wait for the first PONG; a server that is reading its data may take as long as it needs."""
    while True:
        redis.detail = ""
        try:
            async with asyncio.timeout(REDIS_SILENCE_SECONDS):
                return await redis.started()
        except TimeoutError:
            if not redis.detail.startswith("loading"):
                return False
