"""When a service that ended is started again, and when the whole gives up.

Owns the counting of failures. Knows no process and no clock: it is told how long the service was
healthy and answers with seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

CONFIGURATION_EXIT_CODE = 2


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """The figures of the back-off, in seconds, and how often a wrong configuration is tried."""

    first_delay: float = 0.5
    longest_delay: float = 30.0
    healthy_after: float = 60.0
    attempts: int = 5


class Restarts:
    """The failures of one service so far."""

    def __init__(self, policy: RestartPolicy) -> None:
        """Begin without failures."""
        self._policy = policy
        self._failures = 0
        self._configuration_failures = 0

    def count(self, exit_code: int, healthy_for: float | None) -> None:
        """Note an end; `healthy_for` is in seconds, None when the service never became ready."""
        if healthy_for is not None and healthy_for >= self._policy.healthy_after:
            self._failures = 0
        self._failures += 1
        if healthy_for is None and exit_code == CONFIGURATION_EXIT_CODE:
            self._configuration_failures += 1
        else:
            self._configuration_failures = 0

    @property
    def hopeless(self) -> bool:
        """Whether the service refused its configuration as often as it is allowed to."""
        return self._configuration_failures >= self._policy.attempts

    @property
    def delay(self) -> float:
        """Seconds to wait before the next start: doubled with each failure, up to a ceiling."""
        doublings = min(max(self._failures - 1, 0), 32)
        return min(self._policy.first_delay * 2**doublings, self._policy.longest_delay)
