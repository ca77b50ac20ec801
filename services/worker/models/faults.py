"""What the model libraries raise for files they cannot use, as this project's own failure.

Owns the list of those types, and which of our settings a text of theirs asks for.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from safetensors import SafetensorError

from shared.errors import ModelNotSupported

_FAULTS = (
    *(OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, ImportError),
    SafetensorError,
)
_NEEDS_CODE = "trust_remote_code"


@contextmanager
def as_not_supported(what: str) -> Generator[None]:
    """Raise ModelNotSupported, beginning with `what`, for a fault of a model library."""
    try:
        yield
    except _FAULTS as fault:
        raise _not_supported(what, fault) from fault
    except Exception as fault:
        if type(fault) is not Exception:  # tokenizers raises that very type; no other passes here
            raise
        raise _not_supported(what, fault) from fault


def _not_supported(what: str, fault: Exception) -> ModelNotSupported:
    if _NEEDS_CODE in str(fault):
        return ModelNotSupported(
            f"{what} needs Python code that comes with it: trust_remote_code "
            "(LLMZOO_TRUST_REMOTE_CODE=true) permits running it."
        )
    return ModelNotSupported(f"{what} cannot be loaded: {fault}")
