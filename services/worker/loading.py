"""A model reference -> a model in memory, ready for inference.

Owns the call into transformers and what its failures mean. Fetching and converting is the work of
`services.worker.models`, laying the weights out for speed that of the engine. Importing this module brings torch
and transformers and takes seconds: the worker does it in its loading thread.
"""
# pyright: basic
# Torch and transformers are partly untyped.

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
import torch
from transformers import (
    AutoConfig,
    AutoTokenizer,
    GenerationConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging as transformers_logging

from services.worker.engine.memory import bound_to_part, free_bytes, free_of_each, kv_share
from services.worker.models.acquire import acquire
from services.worker.models.faults import as_not_supported
from services.worker.models.fingerprint import fingerprint
from services.worker.models.footprint import footprint
from services.worker.models.packing import PackingChoice, choose_packing
from services.worker.models.placement import choose_device, choose_dtype
from services.worker.models.references import ModelReference, parse_reference
from services.worker.models.weights import Target, load_whole
from services.worker.preflight import Room, check_memory, choose_memory
from services.worker.served_model import Compression
from shared.compression.packing import quantisation_of, read_packing
from shared.config_numbers import CONTEXT
from shared.errors import ConfigurationError, ModelNotSupported, NoChatTemplate
from shared.model_folder import CONFIG, inspect_folder, read_json
from shared.progress import (
    Progress,
    ProgressCallback,
    Report,
    Stage,
    bytes_of,
    ignore_progress,
)
from shared.settings import WorkerSettings
from shared.templates import ChatTemplate, ModelFacts, choose_template

log = structlog.get_logger(__name__)

# A few decode steps on two cores: each pass reads all weights, so small chunks of prompts are slow.
_CPU_STEP_TOKENS, _GPU_STEP_TOKENS = 512, 2048


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model in evaluation mode, without gradients, and all that serving it needs to know."""

    name: str  # under which it is served
    path: Path
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    config: PretrainedConfig
    device: torch.device
    dtype: torch.dtype
    quantization: str  # what the weights are packed to, or by which method
    compression: Compression | None
    eos_token_ids: frozenset[int]
    max_model_len: int  # tokens, prompt and answer together
    room: Room
    step_tokens: int  # in one step of the engine, prompts and answers
    fingerprint: str
    template: ChatTemplate | None
    why_no_template: str
    stop_strings: tuple[str, ...]  # of the template, as far as they are no tokens


def load_model(settings: WorkerSettings, report: ProgressCallback = ignore_progress) -> LoadedModel:
    """Return the model that `settings.model` refers to, fetched and converted first if need be.

    Raises:
        ModelLoadError: one of its kinds; the message names what to change. What does not fit the
            memory found is refused before a weight is read.
        ConfigurationError: the device is not there, or max_model_len is beyond the model's.
    """
    reference = parse_reference(settings.model)
    device = choose_device(settings.device)
    bound_to_part(device, settings.gpu_share)
    dtype = choose_dtype(settings.dtype, device)
    path = acquire(reference, settings, report)
    weight_files = inspect_folder(path, allow_pickle=settings.allow_pickle)
    report(Progress(Stage.LOADING))
    packing = choose_packing(path, settings)
    transformers_logging.disable_progress_bar()
    with as_not_supported(f"The model in {path}"):
        config, tokenizer = _config_and_tokenizer(path, settings)
    max_model_len = _max_model_len(config, settings.max_model_len)
    copies_tied_head = not packing.is_packed and (device.type, dtype) == ("cpu", torch.bfloat16)
    size = footprint(
        weight_files,
        config.get_text_config().to_dict(),
        packing,
        dtype_bytes=dtype.itemsize,
        copies_tied_head=copies_tied_head,
    )
    # Packed layers are put on one device.
    free = [free_bytes(device)] if packing.is_packed else free_of_each(device)
    memory = choose_memory(size, free, kv_share(device), max_model_len, settings)
    room = check_memory(size, memory, max_model_len, settings, on_gpu=device.type == "cuda")
    told = bytes_of(Stage.LOADING, report)
    compression = None
    with as_not_supported(f"The model in {path}"):
        if packing.is_packed:
            model, compression = _packed(
                path, packing, device, dtype, settings=settings, report=told
            )
        else:
            model = load_whole(
                weight_files,
                config,
                Target(device, dtype, dict(enumerate(free)) if memory.devices > 1 else {}),
                settings=settings,
                report=told,
            )
    step_tokens = settings.max_num_batched_tokens or (
        _CPU_STEP_TOKENS if device.type == "cpu" else _GPU_STEP_TOKENS
    )
    numbers = f"{dtype} {packing}"
    if settings.deterministic:
        # All that decides the shape of a product, and with it which kernel sums in which order.
        shape = room.max_num_seqs, step_tokens, torch.get_num_threads(), _processor(device)
        numbers += f" deterministic {shape}"
    template, why_none = _template(reference, path, config, tokenizer, settings.chat_template)
    stop_ids, stop_strings = _stops(tokenizer, template)
    return LoadedModel(
        name=settings.model_name or reference.name,
        path=path,
        model=model,
        tokenizer=tokenizer,
        config=config,
        device=device,
        dtype=dtype,
        quantization=_quantization(path, packing),
        compression=compression,
        eos_token_ids=_eos_token_ids(path, config, tokenizer) | stop_ids,
        max_model_len=max_model_len,
        room=room,
        step_tokens=step_tokens,
        fingerprint=fingerprint(weight_files, _identity(path, tokenizer, template, numbers)),
        template=template,
        why_no_template=why_none,
        stop_strings=stop_strings,
    )


def _config_and_tokenizer(
    path: Path, settings: WorkerSettings
) -> tuple[PretrainedConfig, PreTrainedTokenizerFast]:
    """Call transformers; nothing here asks the network."""
    options: dict[str, Any] = {
        "local_files_only": True,
        "trust_remote_code": settings.trust_remote_code,
    }
    config = AutoConfig.from_pretrained(path, **options)
    tokenizer = AutoTokenizer.from_pretrained(path, config=config, **options)
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise ModelNotSupported(f"{path} has no tokenizer.json; slow tokenizers are not served")
    return config, tokenizer


def _packed(
    path: Path,
    packing: PackingChoice,
    device: torch.device,
    dtype: torch.dtype,
    *,
    settings: WorkerSettings,
    report: Report,
) -> tuple[PreTrainedModel, Compression]:
    """Return the model with its Linears packed, and what that came to."""
    # It brings accelerate, and a start without it is a second quicker.
    from shared.compression.packed_model import Placement, load_packed  # noqa: PLC0415
    from shared.compression.packed_size import packed_size  # noqa: PLC0415

    began = time.monotonic()
    model = load_packed(
        path,
        packing.scheme,
        Placement(dtype=dtype, device=device),
        trust_remote_code=settings.trust_remote_code,
        report=report,
    )
    seconds = time.monotonic() - began
    return model, Compression(*packed_size(model, dtype), seconds)


def _quantization(path: Path, packing: PackingChoice) -> str:
    """Return what the weights are packed to, else the method that the folder names, or `none`."""
    config = read_json(path / CONFIG)
    ours = read_packing(config)
    scheme = packing.scheme or (ours and ours.scheme)
    return scheme.kind if scheme else quantisation_of(config) or "none"


def _eos_token_ids(
    path: Path, config: PretrainedConfig, tokenizer: PreTrainedTokenizerFast
) -> frozenset[int]:
    """Return every id that ends an answer; the three places often name different ones."""
    named: list[Any] = [getattr(config, "eos_token_id", None), tokenizer.eos_token_id]
    if (path / "generation_config.json").is_file():
        named.append(GenerationConfig.from_pretrained(path, local_files_only=True).eos_token_id)
    ids: set[int] = set()
    for entry in named:
        ids.update([entry] if isinstance(entry, int) else entry or [])
    return frozenset(ids)


def _template(
    reference: ModelReference,
    path: Path,
    config: PretrainedConfig,
    tokenizer: PreTrainedTokenizerFast,
    named: str,
) -> tuple[ChatTemplate | None, str]:
    """Return the chat template, or None and why: a base model is served all the same."""
    facts = ModelFacts(
        own=tokenizer.chat_template,
        special_tokens=tokenizer.special_tokens_map,
        names=(str(getattr(config, "_name_or_path", "")), path.name, reference.name),
        model_type=config.model_type,
    )
    try:
        choice = choose_template(facts, named)
    except NoChatTemplate as fault:
        log.warning("no_chat_template", reason=fault.message)
        return None, fault.message
    log.info("chat_template", template=choice.template.name, why=choice.why)
    return choice.template, ""


def _stops(
    tokenizer: PreTrainedTokenizerFast, template: ChatTemplate | None
) -> tuple[frozenset[int], tuple[str, ...]]:
    """Return what ends the template's answers: added tokens by their ids, all else as text."""
    added = tokenizer.get_added_vocab()
    stop = template.stop if template else ()
    return (
        frozenset(added[text] for text in stop if text in added),
        tuple(text for text in stop if text not in added),
    )


def _max_model_len(config: PretrainedConfig, asked: int) -> int:
    """Return the context in tokens; `asked` 0 means the model's own."""
    text = config.get_text_config()
    own: int | None = next(
        (length for name in CONTEXT if (length := getattr(text, name, None))), None
    )
    if own is None and not asked:
        raise ConfigurationError(
            "The model does not say how long its context is: set LLMZOO_MAX_MODEL_LEN",
            param="max_model_len",
        )
    if own is not None and asked > own:
        raise ConfigurationError(
            f"LLMZOO_MAX_MODEL_LEN is {asked}, beyond the model's own context of {own} tokens",
            param="max_model_len",
        )
    return asked or own or 0


def _processor(device: torch.device) -> str:
    """Return what decides which kernels compute."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} {torch.backends.cpu.get_cpu_capability()}"


def _identity(
    path: Path,
    tokenizer: PreTrainedTokenizerFast,
    template: ChatTemplate | None,
    numbers: str,
) -> list[str]:
    """Return what beside the weights decides the tokens, as texts; no path of this host."""
    return [
        (path / "config.json").read_text(encoding="utf-8"),
        tokenizer.backend_tokenizer.to_str(),
        template.identity if template else "",
        numbers,
        torch.__version__,
    ]
