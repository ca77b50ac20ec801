"""From a spec to a run: the eval is found or made, what it would cost is told, the run is queued.

The same of a run that goes on.

Owns when a person is asked before money is spent.
"""

from __future__ import annotations

import sys
from typing import Any

import typer

from services.cli.client import call
from services.cli.eval import run_names
from services.cli.eval.failing import telling_faults
from services.cli.eval.printing import remark
from services.cli.eval.spec_file import Spec
from services.cli.eval.wording import counts_lines
from services.cli.failures import ExitCode
from shared.client import ZooClient
from shared.errors import ConfigurationError
from shared.eval_client import EvalClient
from shared.protocol.evals.run import CallCounts, Run
from shared.settings import ClientSettings


def submit(settings: ClientSettings, spec: Spec, *, agreed: bool) -> Run:
    """Return the run of a spec, which is queued if there was none.

    Args:
        settings: of the client.
        spec: what is measured, and how.
        agreed: whether what it costs need not be asked.

    Raises:
        ConfigurationError: it costs money, and there is nobody to ask.
        typer.Exit: the spec has faults, or the person says no.
        Whatever ZooClient raises.
    """
    eval_id = _eval_id(settings, spec)
    with telling_faults("/run"):
        counts = call(settings, lambda zoo: EvalClient(zoo).count_calls(eval_id, spec.run))
        _agree(counts, agreed=agreed)
        run = call(settings, lambda zoo: EvalClient(zoo).create_run(eval_id, spec.run))
    run_names.remember(settings, run)
    return run


def resume(settings: ClientSettings, run: Run, body: dict[str, Any], *, agreed: bool) -> Run:
    """Return the run that goes on; with another judge it is a new one, whose cost is told first.

    Raises as `submit`.
    """
    with telling_faults():
        if "judge" in body:
            counts = call(settings, lambda zoo: EvalClient(zoo).count_resumed(run, body))
            _agree(counts, agreed=agreed)
        resumed = call(settings, lambda zoo: EvalClient(zoo).resume(run, body))
    run_names.remember(settings, resumed)
    return resumed


def count(settings: ClientSettings, spec: Spec) -> CallCounts:
    """Return what a spec would ask for, and store no run; raises as `submit`."""
    eval_id = _eval_id(settings, spec)
    with telling_faults("/run"):
        return call(settings, lambda zoo: EvalClient(zoo).count_calls(eval_id, spec.run))


def _eval_id(settings: ClientSettings, spec: Spec) -> str:
    async def create(zoo: ZooClient) -> str:
        return await EvalClient(zoo).create_eval(spec.evaluation)

    with telling_faults():
        return call(settings, create)


def _agree(counts: CallCounts, *, agreed: bool) -> None:
    """Ask, where calls go to a model that has a price or none that is known. Raises as `submit`."""
    costs = bool(counts.answers or counts.judge) and counts.cost_usd != 0
    if agreed or not costs:
        return
    remark(*counts_lines(counts))
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        msg = "This run calls external models; --yes says that it may"
        raise ConfigurationError(msg, param="--yes")
    if not typer.confirm("Start it?", err=True):
        raise typer.Exit(ExitCode.CANCELED)
