"""What the worker says of itself in the registry and in its readiness check.

Owns the record and the answer, both made from the lifecycle at the time they are asked for.
"""

from __future__ import annotations

from typing import Any

from services.worker.lifecycle import Lifecycle
from services.worker.served_model import ServedModel
from shared.http.operations import Readiness
from shared.protocol.prefix_chain import pack
from shared.protocol.workers import Load, ModelInfo, ServiceRecord, State
from shared.registry.record import own_record

MAX_BLOCKS_TOLD = 16_384
"""Of what is kept for reuse, the newest; at 4 bytes each they bound the record."""


class Presence:
    """Draws one worker's record."""

    def __init__(self, lifecycle: Lifecycle, name: str, address: str, speed: float) -> None:
        """Announce the model `name` at the base URL `address`, and how fast it is said to be."""
        self._lifecycle = lifecycle
        self._name = name
        self._record = own_record("worker", address).model_copy(update={"speed": speed})

    @property
    def id(self) -> str:
        """The worker's id in the registry."""
        return self._record.id

    def record(self) -> ServiceRecord:
        """Return the record of the next beat; called on the heartbeat's thread."""
        lifecycle = self._lifecycle
        served = lifecycle.served
        return self._record.model_copy(
            update={
                "state": lifecycle.state,
                "progress": lifecycle.progress,
                "detail": lifecycle.detail[:500],
                "models": (self._model(served),),
                "load": None if served is None else _load(served),
                "prefixes": "" if served is None else _prefixes(served),
            }
        )

    def readiness(self) -> Readiness:
        """Return whether requests are taken."""
        state = self._lifecycle.state
        detail: dict[str, Any] = {"model": self._name}
        if self._lifecycle.progress is not None:
            detail["progress"] = round(self._lifecycle.progress, 4)
        if self._lifecycle.detail:
            detail["detail"] = self._lifecycle.detail
        if self._lifecycle.waits_for_others:
            detail["waits"] = True
        return Readiness(ready=state is State.READY, state=state, detail=detail)

    def _model(self, served: ServedModel | None) -> ModelInfo:
        if served is None:
            return ModelInfo(id=self._name)
        return ModelInfo(
            id=served.name,
            max_model_len=served.max_model_len,
            created=served.created,
            dtype=served.dtype,
            fingerprint=served.fingerprint,
        )


def _load(served: ServedModel) -> Load:
    stats = served.engine.stats()
    return Load(
        running=stats.running,
        waiting=stats.waiting,
        max_num_seqs=stats.max_num_seqs,
        kv_tokens_used=stats.kv_tokens_used,
        kv_tokens_total=stats.kv_tokens_total,
        tokens_per_second=stats.tokens_per_second,
        prefill_tokens_per_second=stats.prefill_tokens_per_second,
        last_step_age=stats.last_step_age,
    )


def _prefixes(served: ServedModel) -> str:
    return pack(served.engine.beginnings()[-MAX_BLOCKS_TOLD:])
