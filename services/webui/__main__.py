"""Starts the web UI from the environment: `python -m services.webui`."""

from __future__ import annotations

import os
import sys

from services.webui.gradio_import import without_stub_files
from shared import logs
from shared.errors import ConfigurationError
from shared.heavy_imports import heavy_imports
from shared.http.server import bind, serve
from shared.settings import WebuiSettings, load


def main() -> int:
    """Serve until told to stop; returns the process's exit code."""
    try:
        settings = load(WebuiSettings)
        logs.configure("webui", settings)
        # Bound before Gradio is imported, which takes seconds: a taken port is told at once.
        listener = bind(settings.webui_host, settings.webui_port, advertise=settings.advertise)
    except ConfigurationError as fault:
        sys.stderr.write(f"llmzoo webui: {fault.message}\n")
        return 2
    # Gradio sums up its own statistics with pandas after every event, and takes the pause
    # between two sums from the environment only. Ours are in /metrics.
    os.environ.setdefault("GRADIO_ANALYTICS_CACHE_FREQUENCY", str(2**31))  # noqa: TID251
    with heavy_imports(), without_stub_files():
        from services.webui.app import create_app  # noqa: PLC0415

    serve(create_app(settings, listener.url), listener, settings.drain_timeout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
