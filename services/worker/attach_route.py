"""`POST /internal/attach`: another reader for an answer that this worker holds.

Owns the way from the request to the answer's frames. It is served in every state of the worker, as
long as it holds answers.
"""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from services.worker.answering import answering
from services.worker.frame_reader import FrameReader
from services.worker.framed_answers import FramedAnswers
from services.worker.internal_guard import InternalGuard
from services.worker.metrics import WorkerMetrics
from shared.http.body import ClientGone, read_body
from shared.protocol.attach import parse_attach
from shared.protocol.body import parse_object
from shared.protocol.frames import encode

_MAX_BODY_BYTES = 16 * 1024


class AttachRoute:
    """An ASGI app."""

    def __init__(
        self, answers: FramedAnswers, guard: InternalGuard, metrics: WorkerMetrics
    ) -> None:
        """Serve what is in `answers`."""
        self._answers = answers
        self._guard = guard
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        async with answering(self._metrics, send):
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; raises LLMZooError only as long as nothing was sent."""
        self._guard.check(Headers(scope=scope))
        wanted = parse_attach(parse_object(await read_body(scope, receive, _MAX_BODY_BYTES)))
        reader = FrameReader.of(scope, send)
        if reader.departure.gone:
            raise ClientGone
        answer = self._answers.attach(wanted, reader.request_id)
        ledger = encode(answer.log.ledger(wanted.after))
        await answer.serve(reader, wanted.after, ledger)
