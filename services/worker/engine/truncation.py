"""Truncated distributions: min_p, top_k and top_p, and the draw from what they leave.

Owns which tokens of a row may be drawn. Every function treats each row by itself: what a row
becomes does not depend on the rows beside it. Keeps no state.
"""

from __future__ import annotations

import torch

# Most nuclei lie in so many tokens; a row whose nucleus does not is sorted whole.
_NUCLEUS_GUESS = 512


def keep_likely(probs: torch.Tensor, min_p: torch.Tensor) -> torch.Tensor:
    """Zero what is less likely than `min_p` times the row's likeliest token.

    After Nguyen et al., "Turning Up the Heat: Min-p Sampling", 2024.

    Args:
        probs: [rows, vocabulary].
        min_p: [rows, 1] in [0, 1]; 0 keeps the row whole.
    """
    return torch.where(probs >= min_p * probs.amax(dim=-1, keepdim=True), probs, 0)


def keep_top(probs: torch.Tensor, top_k: torch.Tensor, largest: int) -> torch.Tensor:
    """Zero all but the `top_k` likeliest tokens, and those as likely as the last of them.

    Args:
        probs: [rows, vocabulary].
        top_k: [rows, 1], int64; 0 keeps the row whole.
        largest: no row's `top_k` is larger.
    """
    vocabulary = probs.shape[-1]
    ordered = probs.topk(min(largest, vocabulary)).values
    threshold = ordered.gather(1, (top_k.clamp(max=vocabulary) - 1).clamp(min=0))
    threshold[top_k == 0] = 0
    return torch.where(probs >= threshold, probs, 0)


def keep_nucleus(probs: torch.Tensor, top_p: torch.Tensor) -> torch.Tensor:
    """Zero what lies outside the smallest set of tokens whose mass reaches `top_p`.

    A token as likely as the least likely member stays in. Rows are not normalised again.

    Args:
        probs: [rows, vocabulary], each row summing to 1.
        top_p: [rows, 1], float64; 1 keeps the row whole.
    """
    guess = min(_NUCLEUS_GUESS, probs.shape[-1])
    threshold, reached = _nucleus_threshold(probs.topk(guess).values, top_p)
    missed = ~(reached | (top_p >= 1)).squeeze(1)
    if bool(missed.any()):
        ordered = probs[missed].sort(descending=True).values
        threshold[missed], _ = _nucleus_threshold(ordered, top_p[missed])
    threshold[top_p >= 1] = 0
    return torch.where(probs >= threshold, probs, 0)


def row_sums(probs: torch.Tensor) -> torch.Tensor:
    """Return each row's sum, [rows, 1], to the last bit the same beside any others.

    torch adds up a single row in parts, one for each thread, and of several each row whole.
    """
    several = probs.expand(2, -1) if len(probs) == 1 else probs
    return several.sum(dim=-1, keepdim=True)[: len(probs)]


def _nucleus_threshold(
    ordered: torch.Tensor, top_p: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the least probability kept, [rows, 1], and whether the mass was reached."""
    mass = ordered.cumsum(dim=-1, dtype=torch.float64)
    kept = (mass < top_p).sum(dim=-1, keepdim=True)
    last = ordered.shape[-1] - 1
    return ordered.gather(1, kept.clamp(max=last)), kept <= last


def invert_cdf(weights: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """Return, per row, the first index whose cumulative weight exceeds `uniform` x the total.

    Args:
        weights: [rows, vocabulary], not negative, some positive in each row.
        uniform: [rows], float64 in [0, 1).
    """
    cdf = weights.cumsum(dim=-1, dtype=torch.float64)
    target = uniform[:, None] * cdf[:, -1:]
    return torch.searchsorted(cdf, target, right=True).squeeze(1)
