"""Which of our services this container is for.

Owns the two signs of it: the container's first program and, where that is another one
(`docker compose run`), the address that the service's image makes it bind.
"""

from __future__ import annotations

import sys
from pathlib import Path

from services.cli.doctor import container
from shared.errors import ConfigurationError
from shared.settings import (
    ControllerSettings,
    EvaluatorSettings,
    WebuiSettings,
    WorkerSettings,
    load,
)

_OF_IMAGES = "/opt/llmzoo"
"""Where our images have their Python."""


def service_here(prefix: str = sys.prefix, root: Path = Path("/")) -> str:
    """Return the service of this container; empty: it is none of ours, or no container."""
    if not container.is_container(root):
        return ""
    if (service := container.service_of_container(root)) or prefix != _OF_IMAGES:
        return service
    try:
        binds = {
            "controller": "controller_host" in load(ControllerSettings).model_fields_set,
            "worker": "worker_host" in load(WorkerSettings).model_fields_set,
            "webui": "webui_host" in load(WebuiSettings).model_fields_set,
            "evaluator": "evaluator_host" in load(EvaluatorSettings).model_fields_set,
        }
    except ConfigurationError:
        return ""
    own = [service for service, bound in binds.items() if bound]
    return own[0] if len(own) == 1 else ""
