"""How a refused spec is told: all of its faults, a line each.

Owns those lines. Everything else that goes wrong is told as in other commands.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import typer

from services.cli.eval.printing import remark
from services.cli.failures import exit_code
from shared.client import APIError


@contextmanager
def telling_faults(prefix: str = "") -> Generator[None]:
    """Print the faults of a request with several, and leave with the exit code of a failure.

    Args:
        prefix: where in the spec file the request's body stands.
    """
    try:
        yield
    except APIError as fault:
        if not fault.faults:
            raise
        count = len(fault.faults)
        remark(f"llmzoo: the spec has {count} fault{'s' if count > 1 else ''}:")
        for pointer, text in fault.faults:
            remark(f"  {prefix}{pointer or '/'}: {' '.join(text.split())}")
        raise typer.Exit(exit_code(fault)) from None
