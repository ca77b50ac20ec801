"""`python -m services.controller`: one controller, set up by the environment."""

from __future__ import annotations

import sys

from services.controller.app import create_app
from shared import logs
from shared.errors import ConfigurationError
from shared.http.limited_protocol import ServerLimits
from shared.http.server import bind, serve
from shared.settings import ControllerSettings, load


def main() -> int:
    """Serve until told to stop; 2 says that a setting is wrong."""
    try:
        settings = load(ControllerSettings)
        logs.configure("controller", settings)
        listener = bind(
            settings.controller_host, settings.controller_port, advertise=settings.advertise
        )
        service = create_app(settings, listener.url)
    except ConfigurationError as fault:
        sys.stderr.write(f"controller: {fault.message}\n")
        return 2
    limits = ServerLimits(connections=settings.max_connections)
    serve(service, listener, settings.drain_timeout, limits)
    return 0


if __name__ == "__main__":
    sys.exit(main())
