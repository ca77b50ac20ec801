"""The worker's HTTP routes: OpenAI's own, and the internal ones: abort, resume and drain.

Owns the way of a request from bytes to an entered generation, and who may use what is
internal. Plain ASGI: no framework stands between the socket and the stream.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import orjson
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from services.worker.admission import AdmittedRequest, admit_chat, admit_completion
from services.worker.exchange import DisconnectWatch, send_events, send_frames, send_whole
from services.worker.framing import frames
from services.worker.generation import ABORTED, Generation
from services.worker.lifecycle import Lifecycle
from services.worker.metrics import WorkerMetrics
from services.worker.resumption import admit_resumed
from services.worker.served_model import ServedModel
from shared.errors import LLMZooError, ModelNotFound, Unauthorized, Unavailable
from shared.http.body import ClientGone, read_body
from shared.http.faults import error_response, send_error
from shared.protocol.body import parse_object
from shared.protocol.drain import DRAIN_PATH, parse_drain
from shared.protocol.frames import REQUEST_HEADER
from shared.protocol.openai import parse_chat, parse_completion
from shared.protocol.prefix_chain import chain_of
from shared.protocol.priority import PRIORITY_HEADER, Priority
from shared.protocol.resume import MAX_RESUME_BYTES, RESUME_PATH, parse_resume

Admit = Callable[[dict[str, Any], ServedModel, Priority], Awaitable[AdmittedRequest]]


class InternalGuard:
    """Checks the internal token, sent as a bearer; without one configured all may pass."""

    def __init__(self, token: str) -> None:
        """Keep the fleet's token."""
        self._expected = f"Bearer {token}".encode() if token else b""

    def check(self, headers: Headers) -> None:
        """Let other services of the fleet pass.

        Raises:
            Unauthorized: no token, or a wrong one.
        """
        given = headers.get("authorization", "").encode("latin-1")
        if self._expected and not hmac.compare_digest(given, self._expected):
            raise Unauthorized("This needs the fleet's internal token.")


class GenerationRoute:
    """`POST` of one of the paths that generate; an ASGI app."""

    def __init__(
        self,
        admit: Admit,
        lifecycle: Lifecycle,
        guard: InternalGuard,
        metrics: WorkerMetrics,
        max_body_bytes: int,
        *,
        internal: bool = False,
    ) -> None:
        """Take what all requests share; an internal path answers the fleet alone, in frames."""
        self._admit = admit
        self._lifecycle = lifecycle
        self._guard = guard
        self._metrics = metrics
        self._max_body_bytes = max_body_bytes
        self._internal = internal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        with self._metrics.inflight.track_inprogress():
            try:
                await self._answer(scope, receive, send)
            except ClientGone:
                return
            except LLMZooError as fault:
                self._metrics.count_error(fault)
                await send_error(send, fault)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; raises LLMZooError only as long as nothing was sent."""
        started = time.monotonic()
        headers = Headers(scope=scope)
        framed = self._internal or headers.get(REQUEST_HEADER) == "1"
        if framed:
            self._guard.check(headers)
        priority = Priority.parse(headers.get(PRIORITY_HEADER))
        raw = await read_body(scope, receive, self._max_body_bytes)
        served = self._lifecycle.require_served()
        request = await self._admit(parse_object(raw), served, priority)
        generation = Generation(request, served, self._metrics, started)
        async with generation, DisconnectWatch(receive, generation):
            with self._lifecycle.active.track(generation, scope["state"]["request_id"]):
                stream = frames(generation, served.fingerprint, served.name, self._metrics)
                async with aclosing(stream):
                    if framed:
                        await send_frames(stream, send)
                    elif request.stream:
                        await send_events(stream, send)
                    else:
                        await send_whole(stream, send)


def worker_routes(
    lifecycle: Lifecycle, guard: InternalGuard, metrics: WorkerMetrics, max_body_bytes: int
) -> list[Route]:
    """Return all routes but those of operations."""

    def generating(admit: Admit) -> GenerationRoute:
        return GenerationRoute(admit, lifecycle, guard, metrics, max_body_bytes)

    resume = GenerationRoute(
        _admit_resumed,
        lifecycle,
        guard,
        metrics,
        max_body_bytes + MAX_RESUME_BYTES,
        internal=True,
    )

    async def models(_: Request) -> Response:
        data = [_model(lifecycle.served)] if lifecycle.served else []
        return _json({"object": "list", "data": data})

    async def model(request: Request) -> Response:
        served, wanted = lifecycle.served, request.path_params["model"]
        if served is None or served.name != wanted:
            fault = ModelNotFound(f"The model '{wanted}' does not exist.", param="model")
            return error_response(fault)
        return _json(_model(served))

    async def abort(request: Request) -> Response:
        guard.check(request.headers)
        reason = Unavailable("The request was aborted.", code=ABORTED)
        lifecycle.active.abort(request.path_params["id"], reason)
        # Ended, unknown and aborted requests look the same: in each case nothing runs now.
        return Response(status_code=204)

    async def drain(request: Request) -> Response:
        guard.check(request.headers)
        out = parse_drain(await request.body())
        lifecycle.take_out_of_service(out=out)
        return _json({"state": lifecycle.state})

    return [
        Route("/v1/chat/completions", generating(_admit_chat), methods=["POST"]),
        Route("/v1/completions", generating(_admit_completion), methods=["POST"]),
        Route("/v1/models", models),
        Route("/v1/models/{model:path}", model),
        Route("/internal/requests/{id}/abort", abort, methods=["POST"]),
        Route(DRAIN_PATH, drain, methods=["POST"]),
        Route(RESUME_PATH, resume, methods=["POST"]),
    ]


async def _admit_chat(
    body: dict[str, Any], served: ServedModel, priority: Priority
) -> AdmittedRequest:
    admitted = await admit_chat(parse_chat(body), served, priority)
    return _with_beginning(admitted, body)


async def _admit_completion(
    body: dict[str, Any], served: ServedModel, priority: Priority
) -> AdmittedRequest:
    request = parse_completion(body)
    admitted = await admit_completion(request, served, priority)
    # What several prompts begin with is not one thing.
    return admitted if len(request.prompts) > 1 else _with_beginning(admitted, body)


async def _admit_resumed(
    body: dict[str, Any], served: ServedModel, priority: Priority
) -> AdmittedRequest:
    resume = parse_resume(body)
    admitted = await admit_resumed(resume, served, priority)
    prompts = {sequence.prompt_ids for sequence in admitted.sequences}
    return admitted if len(prompts) > 1 else _with_beginning(admitted, resume.body)


def _with_beginning(admitted: AdmittedRequest, body: dict[str, Any]) -> AdmittedRequest:
    """Let the engine keep, with each prefix, the numbers by which controllers look for it."""
    beginning = chain_of(body)
    for sequence in admitted.sequences:
        sequence.beginning = beginning
    return admitted


def _model(served: ServedModel) -> dict[str, Any]:
    return {
        "id": served.name,
        "object": "model",
        "created": served.created,
        "owned_by": "llmzoo",
        "max_model_len": served.max_model_len,
    }


def _json(content: object) -> Response:
    return Response(orjson.dumps(content), media_type="application/json")
