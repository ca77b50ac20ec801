"""Docker: the engine, Compose, and NVIDIA's container toolkit.

Owns what their commands tell, and the commands that mend what is missing.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import orjson

from services.cli.doctor import env_file
from services.cli.doctor.check import Check, fail, ok, warn
from services.cli.doctor.nvidia import Nvidia
from services.cli.doctor.programs import Told, ask

# The first that knows `gpus:`.
_COMPOSE = (2, 30)
_GPUS = re.compile(r"^\s+gpus:", re.MULTILINE)
_HOOK = "nvidia-container-runtime-hook"
_CONFIGURE = "sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker"
_KEYRING = "/usr/share/keyrings/nvidia-container-toolkit-keyring.gpg"
_NVIDIA_URL = "https://nvidia.github.io/libnvidia-container"
_SOURCE_DEB = (
    f"curl -fsSL {_NVIDIA_URL}/gpgkey | sudo gpg --dearmor -o {_KEYRING} && "
    f"curl -fsSL {_NVIDIA_URL}/stable/deb/nvidia-container-toolkit.list | "
    f"sed 's#deb https://#deb [signed-by={_KEYRING}] https://#g' | "
    "sudo tee /etc/apt/sources.list.d/nvidia-container-toolkit.list"
)
_SOURCE_RPM = (
    f"curl -fsSL {_NVIDIA_URL}/stable/rpm/nvidia-container-toolkit.repo | "
    "sudo tee /etc/yum.repos.d/nvidia-container-toolkit.repo"
)
_INSTALL_DEB = (
    _SOURCE_DEB,
    "sudo apt-get update && sudo apt-get install -y nvidia-container-toolkit",
    _CONFIGURE,
)
_INSTALL_RPM = (
    _SOURCE_RPM,
    "sudo dnf install -y nvidia-container-toolkit",
    _CONFIGURE,
)
_UNSEEN = (
    "not to be seen from inside a container: `llmzoo doctor` on the host looks at Docker, the GPU "
    "toolkit and published ports"
)


def docker(
    see: Callable[[], Nvidia | None], folder: Path, *, in_container: bool
) -> Iterator[Check]:
    """Find whether the engine answers, and whether it can give GPUs to containers.

    Args:
        see: tells the GPUs of this machine.
        folder: that of docker-compose.yml, where there is one.
        in_container: whether this is one.
    """
    told = ask("docker", ["info", "--format", "{{json .}}"])
    if told is None:
        missing = "no docker on PATH; `llmzoo up` needs none"
        yield ok("Docker", _UNSEEN if in_container else missing)
        return
    facts = _facts(told)
    version = facts.get("ServerVersion")
    if not told.well or not version:
        yield _silent(told, facts)
        return
    yield ok("Docker", f"engine {version}")
    seen = see()
    if seen is not None and not seen.fault and seen.gpus:
        yield _toolkit(facts, wanted=_wants_gpu(folder))


def compose(folder: Path) -> Iterator[Check]:
    """Find whether Compose is new enough for docker-compose.yml in `folder`."""
    told = ask("docker", ["compose", "version", "--short"])
    if told is None:
        return
    found = re.match(r"v?(\d+)\.(\d+)", told.out.strip())
    if not told.well or found is None:
        fix = "sudo apt-get install docker-compose-plugin (or docker-compose-v2)"
        yield warn("Compose", "docker has no `compose` command", fix)
        return
    version = told.out.strip().removeprefix("v")
    if (int(found[1]), int(found[2])) >= _COMPOSE:
        yield ok("Compose", version)
        return
    needed = ".".join(map(str, _COMPOSE))
    old = f"{version} does not know `gpus:`, which {needed} brought"
    fix = "update the package docker-compose-plugin, or write the older form (deploy/README.md)"
    if env_file.is_project(folder) and _GPUS.search((folder / env_file.COMPOSE_FILE).read_text()):
        yield fail("Compose", f"{old}, and refuses {env_file.COMPOSE_FILE} for it", fix)
    else:
        yield warn("Compose", old, fix)


def _facts(told: Told) -> Mapping[str, Any]:
    try:
        facts: object = orjson.loads(told.out)
    except orjson.JSONDecodeError:
        return {}
    return cast("dict[str, Any]", facts) if isinstance(facts, dict) else {}


def _silent(told: Told, facts: Mapping[str, Any]) -> Check:
    complaints = [str(each) for each in facts.get("ServerErrors") or ()]
    why = complaints[0] if complaints else told.complaint
    if "permission denied" in why.lower():
        fix = "sudo usermod -aG docker $USER, and log in again"
        return warn("Docker", "this user may not speak to the engine", fix)
    fix = "sudo systemctl start docker (or start Docker Desktop); `llmzoo up` needs none"
    return warn("Docker", f"the engine does not answer: {why}", fix)


def _toolkit(facts: Mapping[str, Any], *, wanted: bool) -> Check:
    name = "GPU toolkit"
    runtimes: dict[str, Any] = facts.get("Runtimes") or {}
    devices = orjson.dumps(facts.get("DiscoveredDevices") or []).decode()
    if "nvidia" in runtimes or "nvidia.com/gpu" in devices:
        return ok(name, "Docker can give this machine's GPUs to containers")
    found = fail if wanted else warn
    if shutil.which(_HOOK) or shutil.which("nvidia-ctk"):
        told = "NVIDIA's container toolkit is installed, and Docker has not been told of it"
        return found(name, told, _CONFIGURE)
    told = (
        "there are GPUs and their driver, and no NVIDIA container toolkit: containers get no GPU "
        "(`could not select device driver`)"
    )
    deb = shutil.which("apt-get") is not None or shutil.which("dnf") is None
    return found(name, told, "\n".join(_INSTALL_DEB if deb else _INSTALL_RPM))


def _wants_gpu(folder: Path) -> bool:
    """Return whether the project is to start its GPU worker."""
    chosen = env_file.values(folder).get("COMPOSE_PROFILES", "")
    return "gpu" in [profile.strip() for profile in chosen.split(",")]
