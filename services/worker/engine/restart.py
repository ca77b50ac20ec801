"""The trial of an engine after a failed step: two tokens, before anything else goes on.

Owns what is tried, and that no other sequence takes part. Knows no thread, no stream and no
tensor; runs on the engine's thread.
"""

from __future__ import annotations

from collections.abc import Iterator

from services.worker.engine.engine import Engine, StepOutput
from services.worker.engine.sequence import FinishReason, SamplingParams, Sequence
from shared.errors import EngineFault

_TRIAL = "engine-trial"
# Two tokens: one comes out of a prefill, the other out of a decode.
_PARAMS = SamplingParams(max_tokens=2, seed=0, temperature=0.0, ignore_eos=True)


def try_out(engine: Engine) -> Iterator[list[StepOutput]]:
    """Let an engine that was recalled give two tokens; yield what is told of others meanwhile.

    Raises:
        Exception: whatever the runner raises. EngineFault: no token came.
    """
    trial = Sequence(_TRIAL, 0, (0,), _PARAMS)
    engine.scheduler.isolate(trial)
    try:
        while trial.finish_reason is None:
            outputs = engine.step()
            yield [output for output in outputs if output.request_id != _TRIAL]
    finally:
        if trial.finish_reason is None:
            # What it has of a row goes with all others at the recall that follows.
            engine.scheduler.finish(trial, FinishReason.ERROR)
    if len(trial.output_ids) != _PARAMS.max_tokens:
        msg = "the engine gave no token when it was tried"
        raise EngineFault(msg)
