"""A model that is served: its engine, and all that answering a request needs of it.

Owns nothing itself; it is what the loading thread hands to the service.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from services.worker.detokenizer import Detokenizers
from services.worker.engine.sequence import SamplingParams, Sequence
from services.worker.engine_client import EngineClient
from services.worker.prompts import PromptEncoder
from shared.errors import EngineFault


@dataclass(frozen=True, slots=True)
class Compression:
    """What packing its weights came to: their bytes without it and in memory, and its seconds."""

    original_bytes: int
    packed_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """One model on one engine; `max_model_len` counts prompt and answer together.

    `eos_token_ids` end any answer, `stop_strings` those in conversations. `quantization` is what
    the weights are packed to, or by which method; `compression` is told of our own alone. `probe`
    lets the GPUs that the model lies on compute something and raises GpuLost if they do not; None
    on a CPU.
    """

    name: str
    created: int
    dtype: str
    device: str = "cpu"
    quantization: str = "none"
    compression: Compression | None = None
    fingerprint: str
    max_model_len: int
    max_num_seqs: int
    max_waiting: int
    vocab_size: int
    eos_token_ids: frozenset[int]
    prompts: PromptEncoder
    stop_strings: tuple[str, ...]
    deterministic: bool = False
    detokenizers: Detokenizers
    engine: EngineClient
    probe: Callable[[], None] | None = None

    async def warm_up(self) -> None:
        """Let the engine give one token.

        Raises:
            EngineFault: it gave none.
        """
        params = SamplingParams(max_tokens=1, seed=0, temperature=0.0)
        async for output in self.engine.submit(Sequence("warm-up", 0, (0,), params)):
            if output.token_id is None:
                raise EngineFault("The engine gave no token; its log says why.")
