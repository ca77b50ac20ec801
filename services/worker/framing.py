"""One generation as frames: what a controller gets, and what plain answers are made of.

Owns the order of frames, their numbers (from 1, or on from those of the worker that began, without
a gap), which bytes go into which, and the ids by which a client comes back. Knows no socket.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from services.worker.choice import Delta
from services.worker.generation import ABORTED, Generation
from services.worker.metrics import WorkerMetrics
from shared.errors import ServiceError
from shared.protocol.event_id import event_id_stem
from shared.protocol.frames import (
    HANDED_BACK,
    EndFrame,
    ErrorFrame,
    Frame,
    KeepaliveFrame,
    StartFrame,
    TokensFrame,
)


async def frames(
    generation: Generation,
    fingerprint: str,
    model: str,
    metrics: WorkerMetrics,
    worker_id: str = "",
) -> AsyncGenerator[Frame]:
    """Yield the frames of a submitted generation; a failure is the last of them.

    With this worker's id in the registry, the bytes of a stream have event ids.
    """
    request = generation.request
    yield StartFrame(
        id=request.id,
        created=request.created,
        model=model,
        seed=request.seed,
        prompt_tokens=request.prompt_tokens,
        fingerprint=fingerprint,
        choices=len(request.sequences),
        deterministic=generation.deterministic,
    )
    number = 0 if request.begun is None else request.begun.last_sequence_number
    id_line = f"id: {event_id_stem(worker_id, request.id)}".encode() if worker_id else b""
    try:
        async with aclosing(generation.deltas()) as deltas:
            async for delta in deltas:
                if not isinstance(delta, Delta):
                    yield KeepaliveFrame()
                    continue
                number += 1
                data = _data(generation, delta, id_line and b"%b%d\n" % (id_line, number))
                yield TokensFrame(number, delta.choice, delta.token_ids, data)
    except ServiceError as fault:
        if fault.code not in {ABORTED, HANDED_BACK}:
            metrics.count_error(fault)
        yield ErrorFrame(fault.status, fault.as_openai()["error"], fault.retry_after)
        return
    yield _end(generation)


def _data(generation: Generation, delta: Delta, event_id: bytes) -> bytes:
    request = generation.request
    if not request.stream:
        return b""
    return request.form.piece(
        delta.choice,
        delta.text,
        first=delta.first,
        logprobs=delta.logprobs,
        event_id=event_id,
    )


def _end(generation: Generation) -> EndFrame:
    request, ended, usage = generation.request, generation.ended(), generation.usage()
    make = request.form.end if request.stream else request.form.body
    return EndFrame(
        finish_reasons=[choice.finish_reason for choice in ended],
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        data=make(ended, usage),
    )
