"""A span around each call to a model, with OpenTelemetry's GenAI names.

Owns what a span says. It holds no text of a prompt or an answer.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from typing import Any

import structlog
from starlette.types import Message, Send

from services.controller.relay.answer import Answer, Headers
from services.controller.relay.backend import Backend, Settle
from services.controller.relay.call import Call
from services.controller.relay.trace import Trace
from shared.errors import LLMZooError

_CHAT = "/v1/chat/completions"
_FAILED = 400


class TracedCalls:
    """A backend whose calls are spans; what it sends on has them as parents."""

    def __init__(self, backend: Backend, tracer: Any) -> None:
        """Stand before `backend`, with a tracer of OpenTelemetry."""
        self._backend = backend
        self._tracer = tracer
        self._api: Any = import_module("opentelemetry.trace")
        context: Any = import_module("opentelemetry.trace.propagation.tracecontext")
        self._propagator = context.TraceContextTextMapPropagator()

    @property
    def paid(self) -> bool:
        """Whether a call costs money."""
        return self._backend.paid

    async def complete(self, call: Call, settle: Settle) -> Answer:
        """Return the whole answer; see `Backend`."""
        with self._span(call) as (span, traced):
            answer = await self._backend.complete(traced, settle)
            self._note_status(span, answer.status)
            return answer

    async def stream(self, call: Call, settle: Settle, send: Send, told: Headers) -> None:
        """Send the answer as it comes; see `Backend`."""
        with self._span(call) as (span, traced):
            waiting = True

            async def noting(message: Message) -> None:
                nonlocal waiting
                if message["type"] == "http.response.start":
                    self._note_status(span, message["status"])
                elif waiting:
                    waiting = False
                    span.add_event("first chunk")
                await send(message)

            await self._backend.stream(traced, settle, noting, told)

    @contextmanager
    def _span(self, call: Call) -> Generator[tuple[Any, Call]]:
        operation = "chat" if call.path == _CHAT else "text_completion"
        with self._tracer.start_as_current_span(
            f"{operation} {call.model}",
            context=self._propagator.extract(call.trace.headers),
            kind=self._api.SpanKind.SERVER,
            attributes={
                "gen_ai.operation.name": operation,
                "gen_ai.provider.name": "llmzoo",
                "gen_ai.request.model": call.model,
                "http.request.method": "POST",
                "http.route": call.path,
                "llmzoo.request.id": call.id,
                "llmzoo.stream": call.stream,
            },
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            headers: dict[str, str] = {}
            self._propagator.inject(headers)
            trace_id = format(span.get_span_context().trace_id, "032x")
            call.facts["trace_id"] = trace_id
            structlog.contextvars.bind_contextvars(trace_id=trace_id)
            try:
                yield span, replace(call, trace=_SpanTrace(headers, span))
            except BaseException as fault:
                code = fault.code if isinstance(fault, LLMZooError) else None
                self._fail(span, code or type(fault).__name__)
                if isinstance(fault, LLMZooError):
                    span.set_attribute("http.response.status_code", fault.status)
                raise

    def _note_status(self, span: Any, status: int) -> None:
        span.set_attribute("http.response.status_code", status)
        if status >= _FAILED:
            self._fail(span, str(status))

    def _fail(self, span: Any, why: str) -> None:
        span.set_attribute("error.type", why)
        span.set_status(self._api.StatusCode.ERROR)


class _SpanTrace(Trace):
    """A call's headers, and the span that listens."""

    __slots__ = ("_span",)

    def __init__(self, headers: dict[str, str], span: Any) -> None:
        super().__init__(headers)
        self._span = span

    def used(self, prompt_tokens: int, generated_tokens: int) -> None:
        self._span.set_attribute("gen_ai.usage.input_tokens", prompt_tokens)
        self._span.set_attribute("gen_ai.usage.output_tokens", generated_tokens)
