"""Where answers come from: a server, or a model in this process (`services.cli.local_chat`).

Owns what a chat asks of either. Keeps no conversation.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Protocol

from shared.client import Answer, Delta, ZooClient


class Source(Protocol):
    """Answers chat requests; all methods raise LLMZooError."""

    async def models(self) -> list[str]:
        """Return the names of the models that can be asked."""
        ...

    def stream(self, body: dict[str, Any]) -> AsyncGenerator[Delta]:
        """Yield an answer's pieces; closing the generator ends the request."""
        ...

    async def complete(self, body: dict[str, Any]) -> Answer:
        """Return an answer as a whole."""
        ...


class ServerSource:
    """A server with OpenAI's API."""

    def __init__(self, client: ZooClient) -> None:
        """Ask through `client`, which the caller closes."""
        self._client = client

    async def models(self) -> list[str]:
        """Return the models that are ready; raises as ZooClient."""
        entries = await self._client.models()
        # Only our own controller tells a state; it lists models that still load, too.
        return sorted(str(e["id"]) for e in entries if e.get("state", "ready") == "ready")

    async def stream(self, body: dict[str, Any]) -> AsyncGenerator[Delta]:
        """Yield the pieces; raises as ZooClient."""
        counted = {**body, "stream_options": {"include_usage": True}}
        async with aclosing(self._client.stream_chat(counted)) as deltas:
            async for delta in deltas:
                yield delta

    async def complete(self, body: dict[str, Any]) -> Answer:
        """Return the answer; raises as ZooClient."""
        return await self._client.chat(body)
