"""TorchScript: operators that run one after the other without Python between them.

Owns how it is asked for. On a CPU, Python's share of a small operator is larger than the
operator's, and the service's other threads wait for the interpreter meanwhile. `torch.compile`
would do more but needs a C++ compiler where the worker runs. TorchScript runs the very operators
that Python would; torch ships it, though it wants no new users of it.
"""
# pyright: basic, reportPrivateImportUsage=false
# torch.jit is typed in part only.

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch

_Call = TypeVar("_Call", bound=Callable[..., Any])


def without_python(call: _Call) -> _Call:
    """Return a function or module that TorchScript runs; the result is the same to the last bit."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        script: Any = torch.jit.script(call)

    def run(*arguments: Any) -> Any:
        # Optimised, it would be specialised for shapes, which change from step to step.
        with torch.jit.optimized_execution(False):
            return script(*arguments)

    return cast("_Call", run)
