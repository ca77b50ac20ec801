"""The worker's HTTP routes: OpenAI's own, and the internal ones: abort, resume, attach and drain.

Owns the paths, and how each of those that generate admits a request.
"""

from __future__ import annotations

from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.worker.admission import AdmittedRequest, admit_chat, admit_completion
from services.worker.attach_route import AttachRoute
from services.worker.generation import ABORTED
from services.worker.generation_route import Admit, GenerationRoute
from services.worker.internal_guard import InternalGuard
from services.worker.lifecycle import Lifecycle
from services.worker.metrics import WorkerMetrics
from services.worker.resumption import admit_resumed
from services.worker.served_model import ServedModel
from shared.errors import ModelNotFound, Unavailable
from shared.http.faults import error_response
from shared.protocol.attach import ATTACH_PATH, KEY_HEADER
from shared.protocol.drain import DRAIN_PATH, parse_drain
from shared.protocol.openai import parse_chat, parse_completion
from shared.protocol.prefix_chain import chain_of
from shared.protocol.priority import Priority
from shared.protocol.resume import MAX_RESUME_BYTES, RESUME_PATH, parse_resume


def worker_routes(
    lifecycle: Lifecycle,
    guard: InternalGuard,
    metrics: WorkerMetrics,
    max_body_bytes: int,
    worker_id: str,
) -> list[Route]:
    """Return all routes but those of operations."""

    def generating(admit: Admit) -> GenerationRoute:
        return GenerationRoute(
            admit, lifecycle, guard, metrics, max_body_bytes, worker_id=worker_id
        )

    resume = GenerationRoute(
        _admit_resumed,
        lifecycle,
        guard,
        metrics,
        max_body_bytes + MAX_RESUME_BYTES,
        worker_id=worker_id,
        resumes=True,
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
        wanted, key = request.path_params["id"], request.headers.get(KEY_HEADER)
        lifecycle.answers.abort(wanted, reason, key)
        # Who names a key means an answer that has one.
        if key is None:
            lifecycle.active.abort(wanted, reason)
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
        Route(ATTACH_PATH, AttachRoute(lifecycle.answers, guard, metrics), methods=["POST"]),
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
