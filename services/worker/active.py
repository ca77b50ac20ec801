"""The generations that run now, by the ids that others know them by.

Owns nothing but the list. A caller names a request by the answer's id or by its X-Request-Id,
which it knows before the answer begins.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from services.worker.generation import Generation
from shared.errors import LLMZooError


class ActiveGenerations:
    """What can be aborted."""

    def __init__(self) -> None:
        """Start empty."""
        self._request_ids: dict[Generation, str] = {}

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._request_ids)

    @contextmanager
    def track(self, generation: Generation, request_id: str) -> Generator[None]:
        """Hold the generation while it runs."""
        self._request_ids[generation] = request_id
        try:
            yield
        finally:
            del self._request_ids[generation]

    def abort(self, wanted: str, reason: LLMZooError) -> None:
        """Abort what has this id; an unknown one is no fault."""
        for generation, request_id in self._request_ids.items():
            if wanted in {generation.request.id, request_id}:
                generation.abort(reason)

    def abort_all(self, reason: LLMZooError) -> None:
        """Abort everything."""
        for generation in self._request_ids:
            generation.abort(reason)
