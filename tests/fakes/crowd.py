"""Many requests at once whose answers are under way, and what their clients felt."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Self

from tests.fakes.mixed_requests import Asking
from tests.fakes.returning_client import ReturningClient, Told
from tests.fakes.transcripts import Differences
from tests.fakes.waiting import eventually


class Crowd:
    """Asks when it is entered; leaves nothing under way."""

    def __init__(self, client: ReturningClient, askings: Sequence[Asking]) -> None:
        self.answers = [Told(asking) for asking in askings]
        self._client = client
        self._asking: asyncio.Task[Sequence[Told]] | None = None

    async def __aenter__(self) -> Self:
        self._asking = asyncio.create_task(self._client.ask_all(self.answers))
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._asking is not None
        self._asking.cancel()
        await asyncio.gather(self._asking, return_exceptions=True)

    async def under_way(self, events: int) -> None:
        """Wait until each stream has so many events more than now, or its end."""
        wanted = [len(told.log.events) + events for told in self.answers]

        def came() -> bool:
            return all(
                len(told.log.events) >= least or told.log.ended or not told.asking.stream
                for told, least in zip(self.answers, wanted, strict=True)
            )

        await eventually(came, seconds=20)

    async def whole(self) -> None:
        """Wait until each answer has ended."""
        assert self._asking is not None
        await self._asking

    def found(self) -> dict[str, int]:
        """Return the tokens lost, repeated and differing, and the answers that are not as due."""
        totals: Counter[str] = Counter(lost=0, repeated=0, differing=0, wrong_answers=0)
        for told in self.answers:
            each: Differences = told.differences
            totals["lost"] += each.lost
            totals["repeated"] += each.repeated
            totals["differing"] += each.differing
            totals["wrong_answers"] += not each.none
        return dict(totals)

    def stalls(self, step: float) -> dict[str, float]:
        """Return percentiles of the longest gap in each stream beyond a step, in milliseconds."""
        gaps = sorted(told.log.longest_gap() - step for told in self.answers if told.asking.stream)
        shares = {"p50": 0.5, "p99": 0.99, "longest": 1.0}
        last = len(gaps) - 1
        return {
            name: round(1e3 * gaps[min(last, int(share * len(gaps)))], 1)
            for name, share in shares.items()
        }


ALL_WELL = {"lost": 0, "repeated": 0, "differing": 0, "wrong_answers": 0}
