"""What `llmzoo up` will run: which services, on which ports, with what in their environment.

Owns the choice and its checks before anything starts. Starts nothing, and knows neither Redis'
address nor any secret: those come later and are the same for every service.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from services.cli.up import ports
from shared.errors import ConfigurationError, PortTaken

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from shared.settings import ZooSettings

OFFSET_STEP = 100


class Role(StrEnum):
    """The services, in the order in which they start: the one with most to load comes first."""

    WORKER = "worker"
    CONTROLLER = "controller"
    EVALUATOR = "evaluator"
    WEBUI = "webui"


# Callers stop before the ones they call.
STOP_ORDER = (Role.WEBUI, Role.EVALUATOR, Role.CONTROLLER, Role.WORKER)
COMMANDS: Mapping[Role, tuple[str, ...]] = {
    role: (sys.executable, "-m", f"services.{role}") for role in Role
}


@dataclass(frozen=True, slots=True)
class UpOptions:
    """The command line of `llmzoo up`; `only` empty means every service."""

    only: tuple[str, ...] = ()
    workers: int = 1
    model: str | None = None
    port_offset: int = 0
    open_browser: bool = False
    load_bits: int | None = None
    """Bits to which the workers compress their weights while loading: 8, 4, or as they are."""


@dataclass(frozen=True, slots=True)
class ServicePlan:
    """One process: how to start it, where it will listen."""

    name: str
    role: Role
    command: tuple[str, ...]
    port: int
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    host: str = ports.LOOPBACK
    listen: str = ""
    """Address on which the supervisor holds its port; empty: the process binds it itself."""

    @property
    def url(self) -> str:
        """The base URL, without a slash at its end."""
        return f"http://{self.host}:{self.port}"

    def moved(self, port: int) -> ServicePlan:
        """Return the same service on another port."""
        environment = {**self.environment, port_variable(self.role): str(port)}
        return replace(self, port=port, environment=environment)


def make_plan(
    settings: ZooSettings, options: UpOptions, commands: Mapping[Role, tuple[str, ...]] = COMMANDS
) -> tuple[ServicePlan, ...]:
    """Return the services to run, in their order of start.

    Raises:
        PortTaken: another program listens where one of them should.
        ConfigurationError: an option does not fit.
    """
    roles = _chosen(options.only)
    if options.workers < 1:
        msg = f"--workers {options.workers}: at least 1 is needed"
        raise ConfigurationError(msg, param="--workers")
    claimed = _claim(settings, options.port_offset, roles)
    model = options.model or settings.model
    hosts = _held(settings)
    plans: list[ServicePlan] = []
    for role in roles:
        environment = {"LLMZOO_MODEL": model}
        if Role.CONTROLLER in claimed:
            environment["LLMZOO_BASE_URL"] = f"http://{ports.LOOPBACK}:{claimed[Role.CONTROLLER]}"
        if role is Role.WORKER:
            first = settings.worker_port + options.port_offset
            wanted = _worker_ports(first, options.workers, set(claimed.values()))
            names = _worker_names(options.workers)
            if options.load_bits:
                environment[f"LLMZOO_LOAD_{options.load_bits}BIT"] = "true"
        else:
            wanted, names = [claimed[role]], [role.value]
        variable = port_variable(role)
        plans += [
            ServicePlan(
                name,
                role,
                commands[role],
                port,
                {**environment, variable: str(port)},
                listen=hosts.get(role, ""),
            )
            for name, port in zip(names, wanted, strict=True)
        ]
    return tuple(plans)


def port_variable(role: Role) -> str:
    """Return the environment variable that sets the port of `role`."""
    return f"LLMZOO_{role.upper()}_PORT"


def _chosen(only: Iterable[str]) -> list[Role]:
    wanted = set(only)
    unknown = sorted(wanted - set(Role))
    if unknown:
        msg = f"--only: no service is called {', '.join(unknown)}; there are {', '.join(Role)}"
        raise ConfigurationError(msg, param="--only")
    return [role for role in Role if not wanted or role in wanted]


def _held(settings: ZooSettings) -> dict[Role, str]:
    """Return on which address whose port is held for it.

    Not a worker's: one that died must refuse connections, so that others are asked at once.
    """
    return {
        Role.CONTROLLER: settings.controller_host,
        Role.EVALUATOR: settings.evaluator_host,
        Role.WEBUI: settings.webui_host,
    }


def _wanted_ports(settings: ZooSettings, offset: int, roles: Iterable[Role]) -> dict[Role, int]:
    """Return the ports that must be exactly these; workers take what is free."""
    defaults = {
        Role.CONTROLLER: settings.controller_port,
        Role.EVALUATOR: settings.evaluator_port,
        Role.WEBUI: settings.webui_port,
    }
    return {role: defaults[role] + offset for role in roles if role in defaults}


def _claim(settings: ZooSettings, offset: int, roles: list[Role]) -> dict[Role, int]:
    claimed = _wanted_ports(settings, offset, roles)
    owners: dict[int, Role] = {}
    for role, port in claimed.items():
        if not 0 < port <= ports.LAST_PORT:
            msg = f"--port-offset {offset}: {port} for the {role} is not a port"
            raise ConfigurationError(msg, param="--port-offset")
        if port in owners:
            msg = f"the {owners[port]} and the {role} both want port {port}: set {port_variable(role)}"
            raise ConfigurationError(msg, param=port_variable(role))
        owners[port] = role
    taken = [role for role, port in claimed.items() if not ports.is_free(ports.LOOPBACK, port)]
    if taken:
        raise _taken(settings, offset, roles, {role: claimed[role] for role in taken})
    return claimed


def _taken(
    settings: ZooSettings, offset: int, roles: list[Role], taken: dict[Role, int]
) -> PortTaken:
    found = "; ".join(
        f"port {port}, which the {role} needs ({port_variable(role)})"
        for role, port in taken.items()
    )
    msg = f"another program listens on {found}"
    better = _free_offset(settings, offset, roles)
    if better is not None:
        msg += f". Choose other ports by these variables, or all at once: --port-offset {better}"
    return PortTaken(msg, param=port_variable(next(iter(taken))))


def _free_offset(settings: ZooSettings, offset: int, roles: list[Role]) -> int | None:
    for candidate in range(offset + OFFSET_STEP, offset + 11 * OFFSET_STEP, OFFSET_STEP):
        wanted = _wanted_ports(settings, candidate, roles).values()
        if all(port <= ports.LAST_PORT and ports.is_free(ports.LOOPBACK, port) for port in wanted):
            return candidate
    return None


def _worker_ports(first: int, count: int, avoid: set[int]) -> list[int]:
    found: list[int] = []
    for _ in range(count):
        port = ports.next_free(ports.LOOPBACK, first, avoid | set(found))
        if port is None:
            msg = f"no free port for a worker from {first} on"
            raise PortTaken(msg, param=port_variable(Role.WORKER))
        found.append(port)
    return found


def _worker_names(count: int) -> list[str]:
    if count == 1:
        return [Role.WORKER.value]
    return [f"{Role.WORKER}-{number}" for number in range(1, count + 1)]
