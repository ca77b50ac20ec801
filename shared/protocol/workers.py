"""What a service says of itself in the registry: its record, state, models and load.

Owns the record's shape. Signing and Redis are in `shared.registry`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

ServiceKind = Literal["controller", "worker", "webui", "evaluator"]


class State(StrEnum):
    """The life of a service; a worker goes through all of them."""

    STARTING = "starting"
    DOWNLOADING = "downloading"
    LOADING = "loading"
    WARMING = "warming"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"


class _Wire(BaseModel):
    # Unknown fields are skipped, so that an older controller can read a newer worker.
    model_config = ConfigDict(frozen=True, extra="ignore")


class ModelInfo(_Wire):
    """One model that a worker serves or is about to serve."""

    id: str
    max_model_len: int = Field(default=0, ge=0, description="context in tokens; 0 while loading")
    created: int = Field(default=0, ge=0, description="Unix seconds of the load")
    dtype: str = ""
    fingerprint: str = ""


class Load(_Wire):
    """How busy a worker is, at the time of the beat."""

    running: int = Field(default=0, ge=0, description="sequences that decode or prefill")
    waiting: int = Field(default=0, ge=0, description="sequences admitted by nobody yet")
    max_num_seqs: int = Field(default=0, ge=0)
    kv_tokens_used: int = Field(default=0, ge=0)
    kv_tokens_total: int = Field(default=0, ge=0)
    tokens_per_second: float = Field(default=0.0, ge=0, description="generated, while it steps")
    prefill_tokens_per_second: float = Field(default=0.0, ge=0)
    last_step_age: float = Field(default=0.0, ge=0, description="seconds since the last step")


class ServiceRecord(_Wire):
    """A whole record, written anew with every beat."""

    id: str = Field(min_length=1, max_length=128)
    kind: ServiceKind
    address: str = Field(max_length=256, description="base URL that others reach it by")
    incarnation: str = Field(max_length=64, description="new at every start of the process")
    beat: int = Field(default=0, ge=0, description="counts up from 1 within an incarnation")
    state: State = State.STARTING
    progress: float | None = Field(default=None, ge=0, le=1, description="of downloading, loading")
    detail: str = Field(default="", max_length=500)
    version: str = ""
    pid: int = 0
    started_at: int = Field(default=0, description="Unix seconds")
    models: tuple[ModelInfo, ...] = ()
    speed: float = Field(default=1.0, ge=0, description="relative, by the operator's word")
    load: Load | None = None
    prefixes: str = Field(
        default="", max_length=131_072, description="prefix blocks held, as prefix_chain packs them"
    )
