"""Which of the ready workers gets a request.

Owns the order among workers. Knows no registry, no request and no clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar


class Loaded(Protocol):
    """What a policy looks at."""

    @property
    def pressure(self) -> float:
        """Sequences there over sequences that decode at once."""
        ...


LoadedT = TypeVar("LoadedT", bound=Loaded)


def least_loaded(
    workers: Sequence[LoadedT], pick: Callable[[Sequence[LoadedT]], LoadedT]
) -> LoadedT:
    """Return a worker with the least pressure.

    Args:
        workers: at least one.
        pick: chooses among equals, such as `random.choice`.
    """
    least = min(worker.pressure for worker in workers)
    return pick([worker for worker in workers if worker.pressure == least])
