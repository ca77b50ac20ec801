"""The way of a request from bytes to a submitted generation, and of its answer back.

Owns who may use what is internal, and the one difference between the two kinds of answers: a plain
one ends with its connection, a framed one outlives it. Plain ASGI: no framework stands between the
socket and the stream.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from services.worker.admission import AdmittedRequest
from services.worker.answering import answering
from services.worker.exchange import DisconnectWatch, send_events, send_whole
from services.worker.frame_reader import FrameReader
from services.worker.framed_answer import Owner
from services.worker.framing import frames
from services.worker.generation import Generation
from services.worker.internal_guard import InternalGuard
from services.worker.lifecycle import Lifecycle
from services.worker.metrics import WorkerMetrics
from services.worker.served_model import ServedModel
from shared.http.body import ClientGone, read_body
from shared.http.departure import departure_of
from shared.http.request_id import facts_of
from shared.protocol.attach import KEY_HEADER, body_digest
from shared.protocol.body import parse_object
from shared.protocol.frames import REQUEST_HEADER, Frame
from shared.protocol.priority import PRIORITY_HEADER, Priority

Admit = Callable[[dict[str, Any], ServedModel, Priority], Awaitable[AdmittedRequest]]


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
        worker_id: str,
        resumes: bool = False,
    ) -> None:
        """Take what all requests share; what resumes answers the fleet alone, in frames."""
        self._admit = admit
        self._lifecycle = lifecycle
        self._guard = guard
        self._metrics = metrics
        self._max_body_bytes = max_body_bytes
        self._worker_id = worker_id
        self._resumes = resumes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        async with answering(self._metrics, send):
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; raises LLMZooError only as long as nothing was sent."""
        started = time.monotonic()
        headers = Headers(scope=scope)
        framed = self._resumes or headers.get(REQUEST_HEADER) == "1"
        if framed:
            self._guard.check(headers)
        priority = Priority.parse(headers.get(PRIORITY_HEADER))
        body = parse_object(await read_body(scope, receive, self._max_body_bytes))
        served = self._lifecycle.require_served()
        facts = facts_of(scope)
        facts["model"], facts["worker"] = served.name, self._worker_id
        request = await self._admit(body, served, priority)
        generation = Generation(request, served, self._metrics, started)
        try:
            if framed:
                original = body["body"] if self._resumes else body
                owner = Owner(headers.get(KEY_HEADER, ""), body_digest(original))
                await self._let_read(generation, served, owner, scope, send)
            else:
                await self._send(generation, served, scope, receive, send)
        finally:
            # Of an answer that goes on without this reader, what there is so far.
            used = generation.usage()
            facts["tokens_in"] = used.prompt_tokens
            facts["tokens_out"] = used.completion_tokens

    async def _let_read(
        self,
        generation: Generation,
        served: ServedModel,
        owner: Owner,
        scope: Scope,
        send: Send,
    ) -> None:
        """Begin an answer that goes on by itself; this request is its first reader."""
        if departure_of(scope).gone:
            # Nobody was told of it, so nobody could come for it.
            raise ClientGone
        said = self._frames(generation, served, self._worker_id)
        answer = await self._lifecycle.answers.begin(generation, said, owner)
        await answer.serve(FrameReader.of(scope, send), answer.log.before)

    async def _send(
        self,
        generation: Generation,
        served: ServedModel,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        """Answer as OpenAI does; who leaves ends the generation."""
        async with generation, DisconnectWatch(receive, generation):
            with self._lifecycle.active.track(generation, scope["state"]["request_id"]):
                async with aclosing(self._frames(generation, served)) as said:
                    if generation.request.stream:
                        await send_events(said, send)
                    else:
                        await send_whole(said, send)

    def _frames(
        self, generation: Generation, served: ServedModel, worker_id: str = ""
    ) -> AsyncGenerator[Frame]:
        return frames(generation, served.fingerprint, served.name, self._metrics, worker_id)
