"""Who may reach the evaluator itself: the fleet's other services, or whoever is on this machine.

Users come through the controller, with its keys. Beyond loopback the fleet's token is asked for;
on loopback none is, but a page in a browser of this machine may not ask for its own site.
"""

from __future__ import annotations

import hmac

from starlette.types import ASGIApp, Receive, Scope, Send

from shared.errors import LLMZooError, Unauthorized
from shared.http.faults import send_error
from shared.http.local_callers import LocalCallers

PREFIX = "/v1/"


class EvaluatorGuard:
    """Lets requests of the API through to `app`; health and metrics are open, as everywhere."""

    def __init__(self, app: ASGIApp, token: str, local: LocalCallers | None) -> None:
        """Guard `app`.

        Args:
            app: what is guarded.
            token: the fleet's; empty: there is none, and beyond loopback nobody may pass.
            local: checks callers without a token; None: the token is needed.
        """
        self._app = app
        self._expected = f"Bearer {token}".encode() if token else b""
        self._local = local

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] == "http" and scope["path"].startswith(PREFIX):
            try:
                self._check(scope)
            except LLMZooError as fault:
                await send_error(send, fault)
                return
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        sent = [value for name, value in scope["headers"] if name == b"authorization"]
        given = sent[0] if len(sent) == 1 else b""
        if self._expected and hmac.compare_digest(given, self._expected):
            return
        if self._local is None:
            if not self._expected:
                msg = "This evaluator has no internal token, so it lets nobody in from elsewhere."
                raise Unauthorized(msg, code="no_internal_token")
            raise Unauthorized("This needs the fleet's internal token; ask the controller instead.")
        self._local.check(scope["headers"])
