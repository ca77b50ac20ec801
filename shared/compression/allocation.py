"""Memory that is given back at once, while weights come and go.

Owns the two calls to glibc's malloc. Elsewhere nothing happens: other allocators give back by
themselves.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Generator
from contextlib import contextmanager

# From <malloc.h>.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
# More than the blocks that are worked on, whose page faults would cost more than the work.
_WHILE_LOADING = 4 << 20
# Where glibc's own growing threshold ends.
_AFTERWARDS = 32 << 20


@contextmanager
def returning_memory() -> Generator[Callable[[], object]]:
    """Keep the heap as small as what is in it; yield what is to be called after each tensor.

    As a rule glibc keeps freed blocks of up to 32 MiB, once it has seen one of that size, and what
    comes later leaves holes between weights that stay: a packed model then takes up to three
    times its size. So every block of four megabytes and more becomes a mapping of its own, which goes
    when it is freed, and the holes of smaller ones are given back when the function is called.
    """
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):
        yield lambda: None
        return
    libc.mallopt(_M_MMAP_THRESHOLD, _WHILE_LOADING)
    libc.mallopt(_M_TRIM_THRESHOLD, 4 * _WHILE_LOADING)
    try:
        yield lambda: libc.malloc_trim(0)
    finally:
        # Mappings cost page faults, which a served model's activations should not.
        libc.mallopt(_M_MMAP_THRESHOLD, _AFTERWARDS)
        libc.mallopt(_M_TRIM_THRESHOLD, 2 * _AFTERWARDS)
