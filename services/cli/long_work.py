"""What commands that work on weights have in common: they need torch, and they take long.

Owns the sentence for a machine without torch.
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager

from shared.errors import ConfigurationError
from shared.progress import ProgressCallback, shown_on


@contextmanager
def long_work(command: str, param: str | None = None) -> Generator[ProgressCallback]:
    """Yield what shows progress on stderr, a bar on a terminal.

    Raises:
        ConfigurationError: torch and its kin are not installed; `param` is the option at fault.
    """
    try:
        with shown_on(sys.stderr) as show:
            yield show
    except ModuleNotFoundError as fault:
        msg = f"{command} needs {fault.name}: pip install 'llmzoo[worker]'"
        raise ConfigurationError(msg, param=param) from None
