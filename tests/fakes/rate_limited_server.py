"""A chat server that lets requests in by a limit and refuses the others with 429."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from tests.fakes.external_server import ExternalServer, Step, completion, whole
from tests.fakes.rate_limits import Admit
from tests.fakes.worker_app import Asked

_LIMITED = {"error": {"message": "too many", "type": "rate_limit_error", "code": "rate_limit"}}


class RateLimited:
    """Keeps when each request came and whether it was let in; times count from the first one."""

    def __init__(self, admit: Admit, tell: Callable[[float], str | None]) -> None:
        """`tell` makes the value of Retry-After of the seconds to wait."""
        self.came: list[tuple[float, bool]] = []
        self.server = ExternalServer(self._script)
        self._admit = admit
        self._tell = tell
        self._began_at = 0.0

    @property
    def refused(self) -> list[float]:
        return [at for at, good in self.came if not good]

    def _script(self, _: Asked) -> Sequence[Step]:
        now = asyncio.get_running_loop().time()
        self._began_at = self._began_at or now
        wait = self._admit(now - self._began_at)
        self.came.append((now - self._began_at, not wait))
        if not wait:
            return [whole(completion())]
        told = self._tell(wait)
        return [whole(_LIMITED, 429, **({} if told is None else {"retry_after": told}))]
