"""Importing what takes seconds: torch, transformers, gradio.

Owns the garbage collector's pause meanwhile. An import makes millions of objects that all stay,
so that looking for garbage among them costs a sixth of its time and finds none.
"""

from __future__ import annotations

import gc
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def heavy_imports() -> Generator[None]:
    """Pause the collector; what was imported is never looked at again (`gc.freeze`)."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
