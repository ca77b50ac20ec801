"""A model reference to a served model: loader, runner, scheduler and engine put together.

Imports torch, which takes seconds: `opening` imports this module when it is needed.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast

import torch

from services.worker.detokenizer import Detokenizers
from services.worker.engine.device_probe import probe_of
from services.worker.engine.engine import Engine
from services.worker.engine.loop import EngineLoop
from services.worker.engine.memory import free_cached
from services.worker.engine.model_runner import ModelRunner
from services.worker.engine.scheduler import Limits, Scheduler
from services.worker.loading import load_model
from services.worker.prompts import PromptEncoder
from services.worker.served_model import ServedModel
from shared.progress import ProgressCallback
from shared.settings import WorkerSettings


def assemble(settings: WorkerSettings, report: ProgressCallback) -> ServedModel:
    """Return the model of `settings`, its engine not started yet.

    Raises:
        ModelLoadError: it cannot be had, or this engine cannot run it.
        ConfigurationError: a setting does not fit the model or the machine.
    """
    if settings.threads:
        torch.set_num_threads(settings.threads)
    loaded = load_model(settings, report)
    probe = probe_of(loaded.model)
    runner = ModelRunner(
        loaded.model,
        max_num_seqs=loaded.room.max_num_seqs,
        max_model_len=loaded.max_model_len,
        eos_token_ids=loaded.eos_token_ids,
        kv_cache_tokens=loaded.room.kv_cache_tokens,
        deterministic=settings.deterministic,
    )
    limits = Limits(
        max_num_seqs=loaded.room.max_num_seqs,
        max_waiting=settings.max_waiting,
        max_model_len=runner.max_model_len,
        kv_cache_tokens=runner.kv_cache_tokens,
        max_num_batched_tokens=loaded.step_tokens,
        draft_tokens=settings.draft_tokens if runner.takes_drafts else 0,
        prefix_cache_tokens=int(runner.kv_cache_tokens * settings.prefix_cache_share),
        chunk_tokens=loaded.step_tokens if settings.deterministic else 0,
    )
    return ServedModel(
        name=loaded.name,
        created=int(datetime.now(UTC).timestamp()),
        dtype=str(loaded.dtype).removeprefix("torch."),
        device=str(loaded.device),
        quantization=loaded.quantization,
        compression=loaded.compression,
        fingerprint=loaded.fingerprint,
        max_model_len=limits.max_model_len,
        max_num_seqs=limits.max_num_seqs,
        max_waiting=limits.max_waiting,
        vocab_size=cast("Any", loaded.model.get_input_embeddings()).num_embeddings,
        eos_token_ids=runner.eos_token_ids,
        prompts=PromptEncoder(
            cast("Any", loaded.tokenizer), loaded.template, loaded.why_no_template
        ),
        stop_strings=loaded.stop_strings,
        deterministic=settings.deterministic,
        detokenizers=Detokenizers(loaded.tokenizer.backend_tokenizer),
        engine=EngineLoop(
            Engine(runner, Scheduler(limits)),
            free_memory=lambda: free_cached(loaded.device),
        ),
        probe=probe,
    )
