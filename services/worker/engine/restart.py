"""What follows a failed step: what ran ends with an error, and a trial comes before what waits.

Owns the order of both. Knows no thread, no stream and no tensor; runs on the engine's thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from services.worker.engine.engine import Engine
from services.worker.engine.sequence import SamplingParams, Sequence, SequenceState
from shared.errors import EngineFault

_TRIAL = "engine-trial"
# Two tokens: one comes out of a prefill, the other out of a decode.
_PARAMS = SamplingParams(max_tokens=2, seed=0, temperature=0.0, ignore_eos=True)


def try_out(engine: Engine, waiting: Iterable[Sequence]) -> None:
    """Let an engine whose running sequences have ended give two tokens.

    What waits is taken out of its queue, since a trial that fails must not take it along; put it
    back with `requeued`.

    Raises:
        Exception: whatever the runner raises. EngineFault: no token came.
    """
    for request_id in {sequence.request_id for sequence in waiting}:
        engine.abort(request_id)
    engine.add(Sequence(_TRIAL, 0, (0,), _PARAMS))
    tokens = 0
    while engine.has_work:
        outputs = [output for output in engine.step() if output.request_id == _TRIAL]
        tokens += sum(output.token_id is not None for output in outputs)
    if tokens != _PARAMS.max_tokens:
        msg = "the engine gave no token when it was tried"
        raise EngineFault(msg)


def requeued(waiting: Iterable[Sequence]) -> Iterator[Sequence]:
    """Yield the sequences as they were before they were taken out, what they generated included."""
    for sequence in waiting:
        yield replace(sequence, state=SequenceState.WAITING, finish_reason=None, computed=0)
