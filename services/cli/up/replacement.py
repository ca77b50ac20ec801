"""Replaces services that run, one after the other, so that no request is lost.

Owns the order of one replacement: the new process first, the old one goes when the new one is
ready. Knows neither who asked for it nor how a process is kept running.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from services.cli.up import ports
from services.cli.up.first_of import first_of
from services.cli.up.plan import Role
from shared.errors import RestartFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from services.cli.up.plan import ServicePlan
    from services.cli.up.running import Runner, Running

    Tell = Callable[[str], None]

ALL = "all"
# A controller reads the registry once a beat, a fifth more or less.
BEATS_UNTIL_SEEN = 1.5


class Replacement:
    """Replaces services of one zoo; one restart at a time."""

    def __init__(
        self,
        running: Running,
        group: asyncio.TaskGroup,
        *,
        beat: float,
        grace: float,
        has_room_beside: Callable[[int], bool],
        moved: Callable[[], None],
    ) -> None:
        """Replace what is `running`.

        Args:
            running: the services.
            group: watches over the new ones too.
            beat: seconds between two heartbeats.
            grace: seconds that an old process gets to end.
            has_room_beside: whether a second process like this one fits into memory.
            moved: called when what runs, or where, has changed.
        """
        self._running = running
        self._group = group
        self._beat = beat
        self._grace = grace
        self._has_room_beside = has_room_beside
        self._moved = moved
        self._first_port = min(
            (plan.port for plan in running.plans if plan.role is Role.WORKER), default=0
        )
        self._busy = False

    async def restart(self, names: Iterable[str], tell: Tell, gone: asyncio.Event) -> None:
        """Replace the services of these roles or names (`all`: every one); `tell` what happens.

        Once `gone` is set, a new process that is not ready is ended and the old one stays; an old
        one that is ending already is waited for, and no other is touched.

        Raises:
            RestartFailed: one is unknown, or did not start; those after it were not touched.
        """
        if self._busy:
            msg = "another restart is under way; try again when it is over"
            raise RestartFailed(msg)
        chosen = self._chosen(list(names))
        self._busy = True
        try:
            for runner in chosen:
                if not gone.is_set():
                    await self._replace(runner, tell, gone)
        finally:
            self._busy = False

    def _chosen(self, names: list[str]) -> list[Runner]:
        runners = self._running.runners
        known = {ALL} | {name for each in runners for name in (each.plan.name, each.plan.role)}
        unknown = [name for name in names if name not in known]
        if unknown or not names:
            msg = (
                f"no service called {', '.join(unknown) or 'so'} runs here; "
                f"there are {', '.join(sorted(known))}"
            )
            raise RestartFailed(msg)
        return [
            runner
            for runner in runners
            if not {ALL, runner.plan.name, runner.plan.role}.isdisjoint(names)
        ]

    async def _replace(self, old: Runner, tell: Tell, gone: asyncio.Event) -> None:
        name, pid = old.plan.name, old.service.pid
        if old.plan.role is Role.WORKER and pid is not None and not self._has_room_beside(pid):
            tell(f"{name}: there is no memory for two, so the old one stops first")
            await self._end(old)
            await self._start_in_place(old.plan, gone)
        else:
            tell(f"{name}: a new one starts beside the old one")
            if await self._start_beside(old.plan, gone):
                tell(f"{name}: the new one is ready, the old one finishes what it has")
                await self._end(old)
            else:
                tell(f"{name}: there is no GPU for two, so the old one stops first")
                await self._end(old)
                await self._start_in_place(old.plan, gone)
        tell(f"{name}: restarted")

    async def _start_beside(self, old: ServicePlan, gone: asyncio.Event) -> bool:
        """Start a new one; False: it would wait for what the old one holds, and has ended."""
        new = self._running.start(
            old if old.listen else old.moved(self._free_port()), must_start=True
        )
        if not await _comes(new, gone, new.service.waits):
            if new.service.waits.is_set() and not gone.is_set():
                await self._end(new)
                return False
            reason = "nobody waits for it any more" if gone.is_set() else new.service.last_words
            await self._end(new)
            msg = f"the new {old.name} did not start, the old one goes on: {reason}"
            raise RestartFailed(msg)
        self._moved()
        self._group.create_task(new.service.ended())
        if old.role is Role.WORKER:
            await asyncio.sleep(BEATS_UNTIL_SEEN * self._beat)
        return True

    async def _start_in_place(self, plan: ServicePlan, gone: asyncio.Event) -> None:
        new = self._running.start(plan)
        self._moved()
        self._group.create_task(new.service.ended())
        if not await _comes(new, gone):
            msg = f"the new {plan.name} is not ready yet: {new.service.detail}"
            raise RestartFailed(msg)

    async def _end(self, runner: Runner) -> None:
        """End a service; cancelled, it is left to whoever ends all of them."""
        obeyed = await runner.service.stop(self._grace)
        self._running.forget(runner)
        self._moved()
        if not obeyed:
            msg = f"the old {runner.plan.name} did not end within {self._grace:.0f} s: killed"
            raise RestartFailed(msg)

    def _free_port(self) -> int:
        taken = {plan.port for plan in self._running.plans}
        port = ports.next_free(ports.LOOPBACK, self._first_port, taken)
        if port is None:
            msg = f"no free port for another worker from {self._first_port} on"
            raise RestartFailed(msg)
        return port


async def _comes(new: Runner, *ends: asyncio.Event) -> bool:
    """Wait until a service is ready; False: it has ended, or one of `ends` was set."""
    await first_of(new.service.started(), *(end.wait() for end in ends))
    return new.service.ready.is_set()
