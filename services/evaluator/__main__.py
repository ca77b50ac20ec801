"""Starts the evaluator from the environment: `python -m services.evaluator`."""

from __future__ import annotations

import sys

from services.evaluator.app import create_app
from shared import logs
from shared.errors import ConfigurationError
from shared.http.server import bind, serve
from shared.settings import EvaluatorSettings, load

_CONFIGURATION_EXIT = 2


def main() -> None:
    """Serve until told to stop; a wrong setting ends the process with code 2."""
    try:
        settings = load(EvaluatorSettings)
        logs.configure("evaluator", settings)
        listener = bind(
            settings.evaluator_host, settings.evaluator_port, advertise=settings.advertise
        )
        service = create_app(settings, listener.url)
    except ConfigurationError as fault:
        sys.stderr.write(f"evaluator: {fault.message}\n")
        raise SystemExit(_CONFIGURATION_EXIT) from None
    serve(service, listener, settings.drain_timeout)


if __name__ == "__main__":
    main()
