"""One generation as frames: what a controller gets, and what plain answers are made of.

Owns the order of frames, their numbers (from 1, or on from those of the worker that began, without
a gap) and which bytes go into which. Knows no socket.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from services.worker.choice import Delta
from services.worker.generation import ABORTED, Generation
from services.worker.metrics import WorkerMetrics
from shared.errors import ServiceError
from shared.protocol.frames import (
    EndFrame,
    ErrorFrame,
    Frame,
    KeepaliveFrame,
    StartFrame,
    TokensFrame,
)


async def frames(
    generation: Generation, fingerprint: str, model: str, metrics: WorkerMetrics
) -> AsyncGenerator[Frame]:
    """Yield the frames of an entered generation; a failure is the last of them."""
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
    try:
        async with aclosing(generation.deltas()) as deltas:
            async for delta in deltas:
                if not isinstance(delta, Delta):
                    yield KeepaliveFrame()
                    continue
                number += 1
                yield TokensFrame(number, delta.choice, delta.token_ids, _data(generation, delta))
    except ServiceError as fault:
        if fault.code != ABORTED:
            metrics.count_error(fault)
        yield ErrorFrame(fault.status, fault.as_openai()["error"], fault.retry_after)
        return
    yield _end(generation)


def _data(generation: Generation, delta: Delta) -> bytes:
    request = generation.request
    if not request.stream:
        return b""
    return request.form.piece(delta.choice, delta.text, first=delta.first, logprobs=delta.logprobs)


def _end(generation: Generation) -> EndFrame:
    request, ended, usage = generation.request, generation.ended(), generation.usage()
    make = request.form.end if request.stream else request.form.body
    return EndFrame(
        finish_reasons=[choice.finish_reason for choice in ended],
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        data=make(ended, usage),
    )
