"""Which models can be chatted with now, as the controller tells.

Owns a list refreshed in the background, so that a hundred open pages cost one question every
few seconds. While the controller is away the last list is kept, with the reason. Knows
nothing of the page.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from shared.client import ZooClient
from shared.errors import LLMZooError

REFRESH_SECONDS = 2.0
_ANSWER_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One model; `progress` runs from 0 to 1 while it is fetched or loaded."""

    id: str
    state: str = "ready"
    progress: float | None = None

    @property
    def ready(self) -> bool:
        """Return whether it answers now."""
        return self.state == "ready"

    @property
    def label(self) -> str:
        """Return what the picker shows."""
        return self.id if self.ready else f"{self.id} ({self.condition})"

    @property
    def condition(self) -> str:
        """Return the state in words, with the percentage if there is one."""
        return self.state if self.progress is None else f"{self.state} {self.progress:.0%}"


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The models at one time; `fault` says why they may be out of date."""

    entries: tuple[ModelEntry, ...] = ()
    fault: str = ""
    known: bool = False

    def find(self, model: str) -> ModelEntry | None:
        """Return the entry of `model`, if it is offered."""
        return next((entry for entry in self.entries if entry.id == model), None)

    def preferred(self, wanted: str = "") -> str | None:
        """Return `wanted` if it is offered, else the first that is ready, else the first."""
        if self.find(wanted) is not None:
            return wanted
        first = next((entry for entry in self.entries if entry.ready), None)
        first = first or next(iter(self.entries), None)
        return first.id if first else None


class ModelList:
    """Keeps the catalogue fresh while `run` runs."""

    def __init__(self, client: ZooClient) -> None:
        """Prepare; nothing is asked before `run`."""
        self._client = client
        self.catalogue = Catalogue()

    async def run(self) -> None:
        """Refresh until cancelled."""
        while True:
            await self.refresh()
            await asyncio.sleep(REFRESH_SECONDS)

    async def refresh(self) -> None:
        """Ask once."""
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                entries = await self._client.models()
        except TimeoutError:
            self._keep(f"{self._client.base_url} did not answer in time.")
        except LLMZooError as fault:
            self._keep(fault.message)
        else:
            self.catalogue = Catalogue(read_entries(entries), known=True)

    def _keep(self, fault: str) -> None:
        self.catalogue = Catalogue(self.catalogue.entries, fault, self.catalogue.known)


def read_entries(entries: Sequence[dict[str, Any]]) -> tuple[ModelEntry, ...]:
    """Read `GET /v1/models`; a server without states (not ours) offers ready models only."""
    found: dict[str, ModelEntry] = {}
    for entry in entries:
        state, progress = entry.get("state"), entry.get("progress")
        model = str(entry["id"])
        found[model] = ModelEntry(
            model,
            str(state) if state else "ready",
            float(progress) if isinstance(progress, int | float) else None,
        )
    return tuple(sorted(found.values(), key=lambda entry: (not entry.ready, entry.id)))
