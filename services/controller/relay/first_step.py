"""Running a coroutine's first step at once, without a task.

A `send` that does not have to wait ends in its first step; for it a callback needs no task to be
woken up, which costs more than all it does. What has to wait is awaited afterwards, by a task.
"""

from __future__ import annotations

import types
from collections.abc import Awaitable, Coroutine, Generator
from typing import Any


def begin(coroutine: Coroutine[Any, Any, None]) -> Awaitable[None] | None:
    """Run the first step; return what is left to be awaited, None if it is done."""
    try:
        waited_for = coroutine.send(None)
    except StopIteration:
        return None
    return _rest(coroutine, waited_for)


@types.coroutine
def _rest(coroutine: Coroutine[Any, Any, None], waited_for: Any) -> Generator[Any, Any, None]:
    while True:
        try:
            try:
                value = yield waited_for
            except BaseException as fault:  # noqa: BLE001 - it is the coroutine's to handle
                waited_for = coroutine.throw(fault)
            else:
                waited_for = coroutine.send(value)
        except StopIteration:
            return
