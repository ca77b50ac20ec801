"""Stands in for `shared.client.ZooClient` where a test wants no socket.

An answer is a list of steps: a `Delta` is yielded, an error raised, an `asyncio.Event` waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from shared.client import Delta
from shared.errors import LLMZooError

Step = Delta | LLMZooError | asyncio.Event


class ScriptedClient:
    base_url = "http://controller.invalid"

    def __init__(self, *answers: list[Step]) -> None:
        self._answers = list(answers)
        self.bodies: list[dict[str, Any]] = []
        self.request_ids: list[str] = []
        self.asked = asyncio.Event()
        self.closed_early = 0
        self.offered: list[dict[str, Any]] | LLMZooError = [{"id": "demo"}]

    async def models(self) -> list[dict[str, Any]]:
        if isinstance(self.offered, LLMZooError):
            raise self.offered
        return self.offered

    async def stream_chat(
        self, body: dict[str, Any], request_id: str = ""
    ) -> AsyncGenerator[Delta]:
        self.bodies.append(body)
        self.request_ids.append(request_id)
        self.asked.set()
        try:
            for step in self._answers.pop(0):
                match step:
                    case asyncio.Event():
                        await step.wait()
                    case LLMZooError():
                        raise step
                    case Delta():
                        yield step
        except (asyncio.CancelledError, GeneratorExit):
            self.closed_early += 1
            raise


def said(*pieces: str, finish_reason: str = "stop", request_id: str = "req-1") -> list[Step]:
    """A whole answer."""
    deltas: list[Step] = [Delta(piece, request_id=request_id) for piece in pieces]
    return [*deltas, Delta(finish_reason=finish_reason, request_id=request_id)]
