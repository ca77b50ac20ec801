"""What turns one model into another: made from both, applied to the first."""

from shared.compression.deltas.additive import ADDITIVE
from shared.compression.deltas.applying import apply_delta
from shared.compression.deltas.making import make_delta
from shared.compression.deltas.summary import Summary

__all__ = ["ADDITIVE", "Summary", "apply_delta", "make_delta"]
