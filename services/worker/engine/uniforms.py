"""Random numbers by position: one uniform for each (seed, choice, index of the generated token).

Owns the generator. Keeps no state, so that any worker computes the same number.
"""

from __future__ import annotations

import functools

import torch

# SplitMix64: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators",
# OOPSLA 2014; the finaliser is number 13 of Stafford, "Better Bit Mixing", 2011.
_GAMMA = 0x9E3779B97F4A7C15
_MIX_1 = 0xBF58476D1CE4E5B9
_MIX_2 = 0x94D049BB133111EB
_UNIFORM_BITS = 52


@functools.lru_cache(maxsize=4096)
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
