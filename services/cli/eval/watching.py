"""A run watched to its end, through restarts of whoever answers.

Owns when it is looked at: when an event says that something happened, and now and then anyway.
"""

from __future__ import annotations

import asyncio
import contextlib
import time

from services.cli.eval.progress import View
from shared.errors import LLMZooError
from shared.eval_client import EvalClient
from shared.protocol.evals.run import Run
from shared.run_events import RunEvents

PATIENCE_SECONDS = 120.0
"""For as long nobody may answer: a restart, or a controller that is moved."""
_LEAST_SECONDS = 0.25
_MOST_SECONDS = 5.0


class Watch:
    """One run and what it is shown on; used once."""

    def __init__(self, evals: EvalClient, view: View, patience: float = PATIENCE_SECONDS) -> None:
        """Prepare; nothing is asked yet."""
        self._evals = evals
        self._view = view
        self._patience = patience
        self._happened = asyncio.Event()
        self._warned: set[str] = set()

    async def to_the_end(self, run: Run) -> Run:
        """Show `run` until it is over, and return it as it is then.

        Raises:
            LLMZooError: the server refuses, or was away for too long.
        """
        self._show(run)
        reader = asyncio.create_task(self._listen(run), name="events of a run")
        try:
            while not run.status.over:
                self._happened.clear()
                run = await self._look(run)
                self._show(run)
                if not run.status.over:
                    await self._wait()
        finally:
            reader.cancel()
            await asyncio.wait({reader})
        return run

    def _show(self, run: Run) -> None:
        for text in run.warnings:
            self._warn(text)
        self._view.show(run)

    def _warn(self, text: str) -> None:
        """Say once what should be known."""
        if text not in self._warned:
            self._warned.add(text)
            self._view.say(f"warning: {text}")

    async def _wait(self) -> None:
        """Wait for an event, not less and not more than a while."""
        await asyncio.sleep(_LEAST_SECONDS)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_MOST_SECONDS):
                await self._happened.wait()

    async def _look(self, run: Run) -> Run:
        since = time.monotonic()
        while True:
            try:
                return await self._evals.run(run.eval_id, run.id)
            except LLMZooError as fault:
                if not fault.retryable or time.monotonic() - since > self._patience:
                    raise
                self._view.lost(fault)
                await asyncio.sleep(max(2 * _LEAST_SECONDS, fault.retry_after or 0))

    async def _listen(self, run: Run) -> None:
        events = RunEvents(self._evals.zoo, run.eval_id, run.id, self._patience)
        # Events are hints: where they cannot be had, the looks tell what there is to tell.
        with contextlib.suppress(LLMZooError):
            async with contextlib.aclosing(events.events()) as told:
                async for event in told:
                    if event.event == "warning":
                        self._warn(str(event.data.get("text") or event.data.get("message")))
                    self._happened.set()
