"""The sampler: from logits to token ids, for all rows at once.

Owns each slot's sampling parameters and its place in its stream of random numbers. A draw
depends on (seed, choice, index of the generated token) alone: neither on the other rows nor
on how often the sampler ran, so another worker can continue a sequence exactly.
"""

from __future__ import annotations

import torch

from services.worker.engine.sequence import SamplingParams

NO_TOKEN = -1
"""Stands for a token id where the model gave no finite numbers."""

# Below this, probabilities are 0 and 1 in float32 anyway.
_GREEDY_BELOW = 1e-5
# Most nuclei lie in so many tokens; a row whose nucleus does not is sorted whole.
_NUCLEUS_GUESS = 512

# SplitMix64: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators",
# OOPSLA 2014; the finaliser is number 13 of Stafford, "Better Bit Mixing", 2011.
_GAMMA = 0x9E3779B97F4A7C15
_MIX_1 = 0xBF58476D1CE4E5B9
_MIX_2 = 0x94D049BB133111EB
_UNIFORM_BITS = 52


class Sampler:
    """Parameters in slots, and one vectorised draw."""

    def __init__(self, slots: int, device: torch.device) -> None:
        """Hold `slots` greedy rows."""
        self._temperature = torch.ones(slots, 1, device=device)
        self._top_p = torch.ones(slots, 1, dtype=torch.float64, device=device)
        self._key = torch.zeros(slots, dtype=torch.int64, device=device)
        self._index = torch.zeros(slots, dtype=torch.int64, device=device)
        self._random = torch.zeros(slots, dtype=torch.bool, device=device)
        # The same on the host, so that choosing the path waits for no device.
        self._draws = [False] * slots
        self._has_top_p = [False] * slots

    def assign(self, slot: int, params: SamplingParams, choice: int, index: int) -> None:
        """Give a slot to a sequence whose next token is its `index`-th generated one."""
        draws = params.temperature >= _GREEDY_BELOW
        self._temperature[slot] = params.temperature if draws else 1.0
        self._top_p[slot] = params.top_p
        self._key[slot] = stream_key(params.seed, choice)
        self._index[slot] = index
        self._random[slot] = draws
        self._draws[slot] = draws
        self._has_top_p[slot] = draws and params.top_p < 1

    def move(self, source: int, target: int) -> None:
        """Copy a slot's state into another."""
        for state in (self._temperature, self._top_p, self._key, self._index, self._random):
            state[target] = state[source]
        self._draws[target] = self._draws[source]
        self._has_top_p[target] = self._has_top_p[source]

    def sample(self, logits: torch.Tensor, rows: slice) -> torch.Tensor:
        """Return the next token ids, int64 [rows], of the slots `rows`.

        A row whose logits are not finite gets `NO_TOKEN`.

        Args:
            logits: [rows, vocabulary], any floating dtype.
            rows: the slots that the logits belong to, in order.
        """
        best, tokens = logits.max(dim=-1)
        if any(self._draws[rows]):
            tokens = torch.where(self._random[rows], self._draw(logits, rows), tokens)
        return torch.where(best.isfinite(), tokens, NO_TOKEN)

    def _draw(self, logits: torch.Tensor, rows: slice) -> torch.Tensor:
        probs = torch.softmax(logits.float() / self._temperature[rows], dim=-1)
        if any(self._has_top_p[rows]):
            probs = keep_nucleus(probs, self._top_p[rows])
        uniform = uniforms(self._key[rows], self._index[rows])
        self._index[rows] += 1
        return invert_cdf(probs, uniform)


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


def stream_key(seed: int, choice: int) -> torch.Tensor:
    """Return the int64 that names the random numbers of one choice; any int is a seed."""
    mixed_seed = _mix(torch.tensor(_signed(seed)))
    return _mix(mixed_seed + _signed(choice * _GAMMA))


def uniforms(keys: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """Return SplitMix64's output number `index` of each stream as float64 in [0, 1).

    52 bits, and not 53, keep `uniform * total` below `total` in float64 for every total.
    """
    bits = _mix(keys + (indices + 1) * _signed(_GAMMA))
    return _shift(bits, 64 - _UNIFORM_BITS).double() * 2.0**-_UNIFORM_BITS


def _mix(bits: torch.Tensor) -> torch.Tensor:
    bits = (bits ^ _shift(bits, 30)) * _signed(_MIX_1)
    bits = (bits ^ _shift(bits, 27)) * _signed(_MIX_2)
    return bits ^ _shift(bits, 31)


def _shift(bits: torch.Tensor, by: int) -> torch.Tensor:
    # Logical: torch's own shift of int64 copies the sign.
    return (bits >> by) & ((1 << (64 - by)) - 1)


def _signed(number: int) -> int:
    """Return the int64 with the same lowest 64 bits."""
    number &= (1 << 64) - 1
    return number - (1 << 64) if number >= 1 << 63 else number
