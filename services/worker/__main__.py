"""`python -m services.worker`: one worker, set up by the environment."""

from __future__ import annotations

import signal
import sys

from services.worker.app import create_app
from shared import logs
from shared.errors import ConfigurationError, LLMZooError, ModelLoadError
from shared.http.server import bind, serve
from shared.settings import WorkerSettings, load


def main() -> int:
    """Serve until told to stop; 2: a setting or the model is wrong, 1: anything else failed."""
    failure: LLMZooError | None = None

    def stop(fault: LLMZooError) -> None:
        nonlocal failure
        failure = fault
        # The way of every stop: the record is withdrawn, the server closes.
        signal.raise_signal(signal.SIGTERM)

    try:
        settings = load(WorkerSettings)
        logs.configure("worker", settings)
        listener = bind(
            settings.worker_host,
            settings.worker_port,
            next_free=True,
            advertise=settings.advertise,
        )
        service = create_app(settings, listener.url, stop)
        serve(service, listener, settings.drain_timeout)
    except LLMZooError as fault:
        failure = fault
    if failure is None:
        return 0
    sys.stderr.write(f"worker: {failure.message}\n")
    return 2 if isinstance(failure, ConfigurationError | ModelLoadError) else 1


if __name__ == "__main__":
    sys.exit(main())
