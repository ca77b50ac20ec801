"""What compression costs: a text read by a model before and after.

Owns the two measures: perplexity, and how often the likeliest token is the same.
"""
# pyright: basic
# Torch and transformers are partly untyped.

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from shared.compression.packed_model import load_packed
from shared.errors import ConfigurationError
from shared.progress import Report, report_nothing

WINDOW = 512


_ROWS = 64  # positions whose logits are in fp32 at once


@dataclass(frozen=True, slots=True)
class Reading:
    """How a model read a text.

    Attributes:
        loss: mean negative log-likelihood of a token, in nats.
        top1: the likeliest token at each position that was judged, (tokens,) int64.
    """

    loss: float
    top1: torch.Tensor

    @property
    def perplexity(self) -> float:
        """Return exp(loss)."""
        return math.exp(self.loss)


@dataclass(frozen=True, slots=True)
class Quality:
    """Two readings of the same text; `top1_agreement` is in [0, 1]."""

    tokens: int
    perplexity_before: float
    perplexity_after: float
    top1_agreement: float

    @property
    def increase(self) -> float:
        """Return by which part the perplexity has grown: 0.01 is 1 %."""
        return self.perplexity_after / self.perplexity_before - 1


@torch.inference_mode()
def read_text(
    model: Any,
    ids: torch.Tensor,
    *,
    window: int = WINDOW,
    report: Report = report_nothing,
) -> Reading:
    """Let a causal model read a text in windows side by side.

    Args:
        model: called with (1, n) token ids, has `.logits` (1, n, vocabulary) in its answer.
        ids: the text, (tokens,) int64. The first token of each window is not judged.
        window: tokens that are read at once.
        report: called with tokens read and tokens in all.

    Raises:
        ConfigurationError: the text is too short to be judged.
    """
    loss, count = 0.0, 0
    top1: list[torch.Tensor] = []
    for start in range(0, len(ids), window):
        part = ids[start : start + window]
        if len(part) > 1:
            logits = model(input_ids=part[None]).logits[0, :-1]
            for row in range(0, len(logits), _ROWS):
                rows = logits[row : row + _ROWS].float()
                said = part[1:][row : row + _ROWS]
                loss += torch.nn.functional.cross_entropy(rows, said, reduction="sum").item()
                top1.append(rows.argmax(-1))
            count += len(part) - 1
        report(min(start + window, len(ids)), len(ids))
    if not count:
        raise ConfigurationError("The text has fewer than two tokens: nothing can be judged")
    return Reading(loss / count, torch.cat(top1))


def measure(
    original: Path, compressed: Path, text: str, report: Report = report_nothing
) -> Quality:
    """Let both models read a text, one after the other, in fp32 but for what is packed.

    Args:
        original: a folder of safetensors, with its tokenizer.
        compressed: made of it by `compress_folder`.
        text: to be read.
        report: called with tokens read and tokens in all, both models together.

    Raises:
        ModelLoadError: of one of its kinds. ConfigurationError: the text is too short.
    """
    transformers_logging.disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(original, local_files_only=True)
    ids = torch.tensor(tokenizer(text).input_ids)
    model: Any = AutoModelForCausalLM.from_pretrained(
        original, dtype=torch.float32, local_files_only=True
    ).eval()
    before = read_text(model, ids, report=lambda done, total: report(done, 2 * total))
    del model  # before the other one comes
    model = load_packed(compressed)
    after = read_text(model, ids, report=lambda done, total: report(total + done, 2 * total))
    return compare(before, after)


def compare(before: Reading, after: Reading) -> Quality:
    """Return what changed between two readings of one text."""
    agreement = (before.top1 == after.top1).float().mean().item()
    return Quality(len(before.top1), before.perplexity, after.perplexity, agreement)
