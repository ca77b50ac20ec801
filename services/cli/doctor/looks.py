"""What `llmzoo doctor` looks at, in its order.

Owns the choice: which findings make sense on a host, and which in a container of one service. How
each is found is the other files' of this folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from services.cli.doctor import (
    container,
    cuda,
    docker,
    env_file,
    machine,
    nvidia,
    redis_server,
    service_ports,
    software,
    torch_build,
)
from services.cli.doctor.check import Check, fail
from services.cli.doctor.controller import controller
from services.cli.doctor.examination import Look, Once
from services.cli.doctor.folders import folder
from services.cli.doctor.model import model
from services.cli.doctor.model_memory import numbers_for, room_for
from services.cli.doctor.nvidia import Nvidia
from services.cli.doctor.torch_build import TorchBuild
from shared.errors import ConfigurationError
from shared.settings import (
    ClientSettings,
    ControllerSettings,
    EvaluatorSettings,
    WebuiSettings,
    WorkerSettings,
    ZooSettings,
    load,
)

_ALL_SETTINGS = (
    ControllerSettings,
    WorkerSettings,
    WebuiSettings,
    EvaluatorSettings,
    ClientSettings,
    ZooSettings,
)


@dataclass(frozen=True, slots=True)
class Examiner:
    """All looks of one run. `service` is that of the container; on a host it is empty."""

    project: Path
    in_container: bool = field(default_factory=container.is_container)
    service: str = field(default_factory=container.service_of_container)
    seen: Once[Nvidia | None] = field(default_factory=lambda: Once(nvidia.look))
    build: Once[TorchBuild | None] = field(default_factory=lambda: Once(torch_build.installed))

    def looks(self) -> list[Look]:
        """Return them, in the order in which they are shown."""
        chosen: list[tuple[str, Callable[[], Iterable[Check]], bool]] = [
            ("machine", self._machine, True),
            ("GPU", self._gpu, self._has_worker),
            ("model", self._model, self._has_worker),
            ("folders", self._folders, True),
            ("Redis", lambda: redis_server.redis(load(ZooSettings)), True),
            ("ports", self._ports, not self.service),
            ("controller", self._controller, True),
            ("Docker", self._docker, True),
            ("Compose", lambda: docker.compose(self.project), True),
            (".env", lambda: env_file.env_file(self.project, _variables()), True),
        ]
        return [Look(name, _with_settings(ask)) for name, ask, fits in chosen if fits]

    @property
    def _has_worker(self) -> bool:
        """Whether a worker runs or may run here."""
        return self.service in {"", "worker"}

    def _machine(self) -> Iterator[Check]:
        yield software.system()
        yield software.python()
        yield machine.processor()
        yield machine.memory(for_model=self._has_worker)

    def _gpu(self) -> Iterator[Check]:
        wanted = load(WorkerSettings).device == "cuda"
        seen, build = self.seen(), self.build()
        yield nvidia.gpu(seen, wanted=wanted, in_container=self.in_container)
        yield torch_build.torch(build)
        yield from cuda.cuda(seen, build, wanted=wanted)
        yield from machine.shared_memory(on_gpu=seen is not None and bool(seen.gpus))

    def _model(self) -> Iterator[Check]:
        settings = load(WorkerSettings)
        build = self.build()
        if build is None:
            return
        room = room_for(settings, self.seen(), build)
        yield from model(settings, room, numbers_for(settings, room))

    def _folders(self) -> Iterator[Check]:
        if self._has_worker:
            path = load(WorkerSettings).cache_dir
            yield folder("model cache", path, "LLMZOO_CACHE_DIR", service=self.service, models=True)
        if not self.service:
            yield folder("state folder", load(ZooSettings).state_dir, "LLMZOO_STATE_DIR")
        if self.service in {"", "controller"}:
            path = load(ControllerSettings).call_store_dir
            yield folder("call store", path, "LLMZOO_CALL_STORE_DIR", service=self.service)
        if self.service in {"", "webui"}:
            path = load(WebuiSettings).log_dir
            yield folder("conversation log", path, "LLMZOO_LOG_DIR", service=self.service)

    def _ports(self) -> Iterator[Check]:
        yield from service_ports.service_ports(load(ZooSettings))
        ours = {f"LLMZOO_{name}_PORT" for name in ("CONTROLLER", "EVALUATOR", "WEBUI", "WORKER")}
        for variable, port in env_file.published_ports(self.project).items():
            if variable not in ours:
                yield service_ports.published_port(variable, port)

    def _controller(self) -> Iterator[Check]:
        settings = load(ClientSettings)
        return controller(settings, service=self.service, in_container=self.in_container)

    def _docker(self) -> Iterator[Check]:
        return docker.docker(self.seen, self.project, in_container=self.in_container)


def _with_settings(ask: Callable[[], Iterable[Check]]) -> Callable[[], Iterator[Check]]:
    """Return the same look, for which a wrong variable is a finding too."""

    def asked() -> Iterator[Check]:
        try:
            yield from ask()
        except ConfigurationError as fault:
            yield fail("settings", fault.message, "correct the variable")

    return asked


def _variables() -> set[str]:
    """Return the names of all settings, and of the files that they may be read from."""
    names = {f"LLMZOO_{name.upper()}" for shape in _ALL_SETTINGS for name in shape.model_fields}
    return names | {f"{name}_FILE" for name in names}
