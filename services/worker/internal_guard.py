"""Who may use what is internal: the other services of the fleet."""

from __future__ import annotations

import hmac

from starlette.datastructures import Headers

from shared.errors import Unauthorized


class InternalGuard:
    """Checks the internal token, sent as a bearer; without one configured all may pass."""

    def __init__(self, token: str) -> None:
        """Keep the fleet's token."""
        self._expected = f"Bearer {token}".encode() if token else b""

    def check(self, headers: Headers) -> None:
        """Let other services of the fleet pass.

        Raises:
            Unauthorized: no token, or a wrong one.
        """
        given = headers.get("authorization", "").encode("latin-1")
        if self._expected and not hmac.compare_digest(given, self._expected):
            raise Unauthorized("This needs the fleet's internal token.")
