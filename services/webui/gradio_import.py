"""Importing Gradio without its stub files.

Gradio writes a `.pyi` file beside each of its components at every import: it reads and parses
eighty sources, half of its import's time, to write files into site-packages that are there
already or, in a read-only image, cannot be written. It leaves out components whose source file
`inspect` does not find; for the time of the import it finds none of them.
"""

from __future__ import annotations

import inspect
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

_METACLASS = "ComponentMeta"


@contextmanager
def without_stub_files() -> Generator[None]:
    """Let `inspect.getfile` know no component; nothing else is changed, and only meanwhile."""
    found = inspect.getfile

    def getfile(thing: Any) -> str:
        if type(thing).__name__ == _METACLASS:
            msg = "a component, whose stub file nobody reads"
            raise OSError(msg)
        return found(thing)

    inspect.getfile = getfile
    try:
        yield
    finally:
        inspect.getfile = found
