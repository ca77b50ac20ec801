"""Which of OpenAI's two completions APIs is measured."""

from __future__ import annotations

from enum import StrEnum


class Endpoint(StrEnum):
    """The name on the command line."""

    CHAT = "chat"
    COMPLETIONS = "completions"

    @property
    def path(self) -> str:
        """The path of the API."""
        return "/v1/chat/completions" if self is Endpoint.CHAT else "/v1/completions"
