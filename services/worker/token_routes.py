"""`/tokenize` and `/detokenize`: what the model's tokenizer and template make of a text.

Owns the way from body to answer. Knows no engine: nothing is generated here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.worker.lifecycle import Lifecycle
from services.worker.metrics import WorkerMetrics
from services.worker.served_model import ServedModel
from shared.errors import InvalidRequest, LLMZooError, ModelNotFound
from shared.http.body import ClientGone, read_body
from shared.http.request_id import facts_of
from shared.protocol.body import parse_object
from shared.protocol.tokenization import TokenizePrompt, parse_detokenize, parse_tokenize

Answer = Callable[[dict[str, Any], ServedModel], Awaitable[dict[str, Any]]]


def token_routes(lifecycle: Lifecycle, metrics: WorkerMetrics, max_body_bytes: int) -> list[Route]:
    """Return both routes."""

    def route(path: str, answer: Answer) -> Route:
        async def endpoint(request: Request) -> Response:
            try:
                raw = await read_body(request.scope, request.receive, max_body_bytes)
                body, served = parse_object(raw), lifecycle.require_served()
                facts_of(request.scope)["model"] = served.name
                content = await answer(body, served)
            except ClientGone:
                return Response(status_code=499)  # nobody reads it
            except LLMZooError as fault:
                metrics.count_error(fault)
                raise
            return Response(orjson.dumps(content), media_type="application/json")

        return Route(path, endpoint, methods=["POST"])

    return [route("/tokenize", _tokenize), route("/detokenize", _detokenize)]


async def _tokenize(body: dict[str, Any], served: ServedModel) -> dict[str, Any]:
    request = parse_tokenize(body)
    _check_model(request.model, served)
    if isinstance(request, TokenizePrompt):
        ids = await served.prompts.tokenize(
            request.prompt, add_special_tokens=request.add_special_tokens
        )
    else:
        ids = await served.prompts.encode_chat(
            request.messages,
            add_generation_prompt=request.add_generation_prompt is not False,
            continue_final_message=bool(request.continue_final_message),
        )
    return {
        "count": len(ids),
        "max_model_len": served.max_model_len,
        "tokens": ids,
        "token_strs": served.prompts.token_strs(ids) if request.return_token_strs else None,
    }


async def _detokenize(body: dict[str, Any], served: ServedModel) -> dict[str, Any]:
    request = parse_detokenize(body)
    _check_model(request.model, served)
    for token_id in request.tokens:
        if token_id >= served.vocab_size:
            msg = f"Token id {token_id} is outside the vocabulary of {served.vocab_size}."
            raise InvalidRequest(msg, param="tokens")
    return {"prompt": await served.prompts.detokenize(request.tokens)}


def _check_model(asked: str | None, served: ServedModel) -> None:
    if asked not in {None, served.name}:
        msg = f"The model '{asked}' does not exist; this worker serves '{served.name}'."
        raise ModelNotFound(msg, param="model")
