"""What transformers answers by itself: the reference for the engine."""

from __future__ import annotations

from typing import Any

import torch


def generate(model: Any, prompt: tuple[int, ...], count: int) -> list[int]:
    """Return what transformers generates alone, greedily, at most `count` tokens."""
    ids = torch.tensor([prompt])
    with torch.inference_mode():
        out = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=count,
            do_sample=False,
            pad_token_id=0,
        )
    tokens: list[int] = out[0, len(prompt) :].tolist()
    return tokens
