"""A token stream: what one sequence gives, as an async iterator.

Owns the hand-over within the event loop. Knows no thread: `push` runs on the loop as well.
"""

from __future__ import annotations

import asyncio
from collections import deque

from services.worker.engine.engine import StepOutput
from services.worker.engine.sequence import Sequence


class TokenStream:
    """Yields a sequence's outputs; the last one carries the finish reason.

    It holds at most `max_tokens` outputs, however slowly it is read.

    Attributes:
        sequence: whose outputs these are.
    """

    def __init__(self, sequence: Sequence) -> None:
        """Start empty."""
        self.sequence = sequence
        self._outputs: deque[StepOutput] = deque()
        self._arrived = asyncio.Event()
        self._finished = False

    def push(self, output: StepOutput) -> None:
        """Hand over one output, on the event loop's thread."""
        self._outputs.append(output)
        self._arrived.set()

    def __aiter__(self) -> TokenStream:
        """Return itself: a stream is read once."""
        return self

    async def __anext__(self) -> StepOutput:
        """Return the next output as soon as it is there."""
        if self._finished:
            raise StopAsyncIteration
        while not self._outputs:
            self._arrived.clear()
            await self._arrived.wait()
        output = self._outputs.popleft()
        self._finished = output.finish_reason is not None
        return output
