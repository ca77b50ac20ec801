"""Layouts of layers that are all alike, without a model."""

from __future__ import annotations

import torch

from services.worker.engine.layout import Kind, Layout


def make_layout(
    layers: int,
    kv_heads: int,
    dim: int,
    value_dim: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> Layout:
    """Return a layout on the CPU; values are like keys unless told otherwise."""
    keys, values = (
        Kind(kv_heads, each, dtype, torch.device("cpu"))
        for each in (dim, dim if value_dim is None else value_dim)
    )
    return Layout([(keys, values)] * layers)
