"""What `llmzoo doctor` looks at, in its order.

Owns the choice: which findings make sense on a host, and which in a container of one service. How
each is found is the other files' of this folder.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
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


def _service() -> str:
    """Return which service's container this is: by its program, or by what its image sets."""
    if not container.is_container():
        return ""
    try:
        binds = {
            "controller": "controller_host" in load(ControllerSettings).model_fields_set,
            "worker": "worker_host" in load(WorkerSettings).model_fields_set,
            "webui": "webui_host" in load(WebuiSettings).model_fields_set,
            "evaluator": "evaluator_host" in load(EvaluatorSettings).model_fields_set,
        }
    except ConfigurationError:
        binds = {}
    own = [service for service, bound in binds.items() if bound]
    return container.service_of_container() or (own[0] if len(own) == 1 else "")


@dataclass(frozen=True, slots=True)
class Examiner:
    """All looks of one run. `service` is that of the container; on a host it is empty."""

    project: Path
    in_container: bool = field(default_factory=container.is_container)
    service: str = field(default_factory=_service)
    seen: Once[Nvidia | None] = field(default_factory=lambda: Once(nvidia.look))
    build: Once[TorchBuild | None] = field(default_factory=lambda: Once(torch_build.installed))

    def looks(self) -> list[Look]:
        """Return them, in the order in which they are shown."""
        looks = [
            Look("machine", self._machine),
            *((Look("GPU", self._gpu), Look("model", self._model)) if self._has_worker else ()),
            Look("folders", self._folders),
            Look("Redis", lambda: redis_server.redis(load(ZooSettings))),
            *(() if self.service else self._ports()),
            Look("controller", self._controller),
            Look("Docker", self._docker),
            Look("Compose", lambda: docker.compose(self.project)),
            Look(".env", lambda: env_file.env_file(self.project, _variables())),
        ]
        return [Look(look.subject, _with_settings(look.ask)) for look in looks]

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
        state = load(ZooSettings).state_dir
        if not self.service:
            yield folder("state folder", state, "LLMZOO_STATE_DIR")
        calls, log = load(ControllerSettings).call_store_dir, load(WebuiSettings).log_dir
        for name, path, variable, service in (
            ("call store", calls, "LLMZOO_CALL_STORE_DIR", "controller"),
            ("conversation log", log, "LLMZOO_LOG_DIR", "webui"),
        ):
            # On a host both are below the state folder unless they were moved.
            moved = not self.service and not path.is_relative_to(state)
            if moved or self.service == service:
                yield folder(name, path, variable, service=self.service)

    def _ports(self) -> Iterator[Look]:
        """Yield a look a port: who has one may take a second to say nothing."""
        try:
            zoo = load(ZooSettings)
        except ConfigurationError:
            return  # the look at Redis tells of it
        wanted = {
            "controller": zoo.controller_port,
            "evaluator": zoo.evaluator_port,
            "webui": zoo.webui_port,
            "worker": zoo.worker_port,
        }
        for service, port in wanted.items():
            ask = partial(service_ports.service_port, service, port)
            yield Look(f"port {port}", _one(ask))
        ours = {f"LLMZOO_{service.upper()}_PORT" for service in wanted}
        for variable, port in env_file.published_ports(self.project).items():
            if variable not in ours and shutil.which("docker"):
                ask = partial(service_ports.published_port, variable, port)
                yield Look(f"port {port}", _one(ask))

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


def _one(ask: Callable[[], Check]) -> Callable[[], list[Check]]:
    return lambda: [ask()]


def _variables() -> set[str]:
    """Return the names of all settings, and of the files that they may be read from."""
    names = {f"LLMZOO_{name.upper()}" for shape in _ALL_SETTINGS for name in shape.model_fields}
    return names | {f"{name}_FILE" for name in names}
