"""Waiting for whichever comes first. Owns nothing; the others are let go of."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine


async def first_of(*waits: Coroutine[Any, Any, object]) -> None:
    """Return once one of these has; the rest is cancelled. Without any, return at once."""
    tasks = [asyncio.create_task(wait) for wait in waits]
    try:
        if tasks:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
