"""How a run is named on the command line, and the one that was submitted last.

Owns the file that remembers it, a convenience: without it a run is named in full.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import orjson

from services.cli.client import call
from shared.errors import ConfigurationError
from shared.eval_client import EvalClient
from shared.protocol.evals.run import Run
from shared.settings import ClientSettings

_FILE = "last-eval-run.json"


def find(settings: ClientSettings, named: str | None) -> Run:
    """Return the run of `RUN_ID` or `EVAL_ID/RUN_ID`; of nothing, the one submitted last.

    Raises:
        ConfigurationError: nothing is named and nothing is remembered.
        NotFound: no eval has it. Whatever ZooClient raises.
    """
    if named is None:
        named = _remembered(settings)
    eval_id, slash, run_id = named.rpartition("/")
    if not run_id or (slash and not eval_id):
        raise ConfigurationError(f"{named!r} names no run", param="RUN")

    async def look(evals: EvalClient) -> Run:
        return await (evals.run(eval_id, run_id) if slash else evals.find_run(run_id))

    return call(settings, lambda zoo: look(EvalClient(zoo)))


def remember(settings: ClientSettings, run: Run) -> None:
    """Keep which run was submitted last, if the state folder can be written."""
    kept = {"base_url": settings.base_url, "run": f"{run.eval_id}/{run.id}"}
    with contextlib.suppress(OSError):
        settings.state_dir.mkdir(parents=True, exist_ok=True)
        _file(settings).write_bytes(orjson.dumps(kept))


def _remembered(settings: ClientSettings) -> str:
    kept: object = None
    with contextlib.suppress(OSError, orjson.JSONDecodeError):
        kept = orjson.loads(_file(settings).read_bytes())
    match kept:
        case {"base_url": settings.base_url, "run": str(run)}:
            return run
        case _:
            msg = "No run was submitted from here: name one, as `llmzoo eval list` shows it"
            raise ConfigurationError(msg, param="RUN")


def _file(settings: ClientSettings) -> Path:
    return settings.state_dir / _FILE
