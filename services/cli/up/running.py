"""What runs: each service with its plan, and the sockets that are held for them.

Owns the making of a service from its plan. Knows no order and no reason: those are the
supervisor's and the restart's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.cli.up.probes import http_probe
from services.cli.up.service import SupervisedService
from shared.http.listening import listening_socket
from shared.settings import child_environment

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

    from services.cli.up.console import Console
    from services.cli.up.plan import Role, ServicePlan
    from services.cli.up.restarts import RestartPolicy


@dataclass(frozen=True, slots=True, eq=False)
class Runner:
    """One plan and the service that carries it out; during a restart there are two of a name."""

    plan: ServicePlan
    service: SupervisedService


class Running:
    """The services of one zoo."""

    def __init__(self, console: Console, policy: RestartPolicy) -> None:
        """Nothing runs yet."""
        self.environment: Mapping[str, str] = {}
        self.runners: list[Runner] = []
        self._console = console
        self._policy = policy
        self._sockets: dict[int, socket.socket] = {}

    def hold(self, plan: ServicePlan) -> None:
        """Listen on the plan's port, if it is one that is held; clients queue from now on.

        Raises:
            PortTaken: it cannot be had.
        """
        if plan.listen:
            self._sockets[plan.port] = listening_socket(plan.listen, plan.port)

    def start(self, plan: ServicePlan, *, must_start: bool = False) -> Runner:
        """Start a service; with `must_start` it is given up if it ends before it is ready."""
        service = SupervisedService(
            plan.name,
            plan.command,
            child_environment({**self.environment, **plan.environment}),
            http_probe(plan.host, plan.port),
            console=self._console,
            policy=self._policy,
            must_start=must_start,
            listener=self._sockets.get(plan.port),
        )
        runner = Runner(plan, service)
        self.runners.append(runner)
        service.begin()
        return runner

    def forget(self, runner: Runner) -> None:
        """Leave out a service that has ended."""
        self.runners.remove(runner)

    def of(self, role: Role) -> list[SupervisedService]:
        """Return the services of a role."""
        return [runner.service for runner in self.runners if runner.plan.role is role]

    @property
    def plans(self) -> tuple[ServicePlan, ...]:
        """What runs, as it was planned or moved since."""
        return tuple(runner.plan for runner in self.runners)

    def let_go(self) -> None:
        """Hold no sockets any more: when their services end, clients are refused."""
        for sock in self._sockets.values():
            sock.close()
        self._sockets.clear()
