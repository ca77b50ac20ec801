"""OpenTelemetry, switched on: where spans come from and where they go.

Owns its packages, which are optional and imported here alone, and the hook into FastAPI. Where
spans are sent, and how many, the standard variables OTEL_* say.
"""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import Any

from fastapi import FastAPI

from services.controller.relay.backend import Backend
from services.controller.tracing.calls import TracedCalls
from shared.errors import ConfigurationError
from shared.http.operations import VERSION

SERVICE_NAME = "llmzoo-controller"
UNTRACED = "health/,metrics,version"
"""What machines ask for all the time, as the hook's list of patterns."""

_SDK = "opentelemetry.sdk"


class Tracing:
    """Makes spans and sends them by OTLP over HTTP."""

    def __init__(self) -> None:
        """Begin; nothing is sent before the first span ends.

        Raises:
            ConfigurationError: the packages are not installed.
        """
        try:
            sdk: Any = import_module(f"{_SDK}.trace")
            export: Any = import_module(f"{_SDK}.trace.export")
            resources: Any = import_module(f"{_SDK}.resources")
            otlp: Any = import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
            self._fastapi: Any = import_module("opentelemetry.instrumentation.fastapi")
        except ImportError as fault:
            msg = f"LLMZOO_OTEL needs the extra otel: pip install 'llmzoo[otel]' ({fault.name})"
            raise ConfigurationError(msg, param="LLMZOO_OTEL") from fault
        resource = resources.Resource.create()
        if resource.attributes["service.name"].startswith("unknown_service"):
            named = {"service.name": SERVICE_NAME, "service.version": VERSION}
            resource = resource.merge(resources.Resource(named))
        self._provider = sdk.TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(export.BatchSpanProcessor(otlp.OTLPSpanExporter()))

    def calls(self, backend: Backend) -> TracedCalls:
        """Return the same backend with a span around each call."""
        return TracedCalls(backend, self._provider.get_tracer("llmzoo", VERSION))

    def watch(self, app: FastAPI) -> None:
        """Make spans of what the framework serves, by its instrumentation's own hook."""
        self._fastapi.FastAPIInstrumentor.instrument_app(
            app, tracer_provider=self._provider, excluded_urls=UNTRACED
        )

    async def close(self) -> None:
        """Send what is left."""
        await asyncio.to_thread(self._provider.shutdown)
