"""`python -m services.worker`: one worker, set up by the environment and three options."""

from __future__ import annotations

import argparse
import math
import signal
import sys

from services.worker.app import create_app
from services.worker.lifecycle import Opener
from services.worker.opening import open_model
from shared import logs
from shared.errors import ConfigurationError, GpuLost, LLMZooError, ModelLoadError
from shared.http.server import bind, serve
from shared.settings import WorkerSettings, load

# What an end takes beside the draining.
_END_SECONDS = 10


def main(opener: Opener = open_model) -> int:
    """Serve until told to stop; 2: a setting or the model is wrong, 1: anything else failed."""
    failure: LLMZooError | None = None

    def stop(fault: LLMZooError) -> None:
        nonlocal failure
        failure = fault
        if isinstance(fault, GpuLost):
            end_within(settings.drain_timeout + _END_SECONDS)
        # The way of every stop: the record is withdrawn, the server closes.
        signal.raise_signal(signal.SIGTERM)

    try:
        settings = load(WorkerSettings, **_options())
        logs.configure("worker", settings)
        listener = bind(
            settings.worker_host,
            settings.worker_port,
            next_free=True,
            advertise=settings.advertise,
        )
        service = create_app(settings, listener.url, stop, opener)
        serve(service, listener, settings.drain_timeout)
    except LLMZooError as fault:
        failure = fault
    if failure is None:
        return 0
    sys.stderr.write(f"worker: {failure.message}\n")
    return 2 if isinstance(failure, ConfigurationError | ModelLoadError) else 1


def end_within(seconds: float) -> None:
    """Let the kernel end this process if it has not ended by then.

    A driver that hangs may hang the process's end too, where no code of ours runs any more; and
    only what has ended is started again.
    """
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(math.ceil(seconds))


def _options() -> dict[str, object]:
    """Return what the command line says; the environment says all else."""
    parser = argparse.ArgumentParser(
        prog="python -m services.worker",
        description="Serve one model. README lists the settings, LLMZOO_* in the environment.",
    )
    parser.add_argument("--model", help="a folder, a hub id, demo or pypi:<distribution>")
    parser.add_argument(
        "--deterministic",
        action="store_true",
        default=None,
        help="answers do not depend on what else is served, to the last bit",
    )
    bits = parser.add_mutually_exclusive_group()
    bits.add_argument("--load-8bit", action="store_true", default=None, help="compress to 8 bits")
    bits.add_argument("--load-4bit", action="store_true", default=None, help="compress to 4 bits")
    given = vars(parser.parse_args())
    return {name: value for name, value in given.items() if value is not None}


if __name__ == "__main__":
    sys.exit(main())
