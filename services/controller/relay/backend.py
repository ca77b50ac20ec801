"""Who answers calls: the workers of the fleet, or a server elsewhere.

Owns what both look like to the hot routes. `settle` is told, once, the tokens that were used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from starlette.types import Send

from services.controller.relay.answer import Answer, Headers
from services.controller.relay.call import Call

Settle = Callable[[int], None]


class Backend(Protocol):
    """Answers calls of some models."""

    @property
    def paid(self) -> bool:
        """Whether a call costs money, so that it must not be made twice."""
        ...

    async def complete(self, call: Call, settle: Settle) -> Answer:
        """Return the whole answer, also one that is a refusal.

        Raises:
            LLMZooError: it cannot be answered.
        """
        ...

    async def stream(self, call: Call, settle: Settle, send: Send, told: Headers) -> None:
        """Send the answer as it comes, with `told` among its headers.

        Raises:
            LLMZooError: it cannot be answered; nothing was sent.
        """
        ...
