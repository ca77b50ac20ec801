"""A chat's answers from a model in this process: no server, no Redis, no network.

The only module of the command line that imports the worker, and only when it is asked for:
it brings torch.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any

from services.cli.long_work import long_work
from shared.client import Answer, Delta
from shared.errors import ModelNotFound

if TYPE_CHECKING:
    from services.cli.chat.source import Source
    from services.worker.local import LocalChat


@asynccontextmanager
async def local_source(reference: str) -> AsyncGenerator[Source]:
    """Load a model, with its progress on stderr, and answer with it.

    Raises:
        ModelLoadError: it cannot be had or served.
        ConfigurationError: a setting is wrong, or what a worker needs is not installed.
    """
    # Importing torch takes seconds, too; the first progress comes after it.
    print(f"Loading {reference} ...", file=sys.stderr, flush=True)
    with long_work("--local", "--local") as show:
        from services.worker.local import LocalChat  # noqa: PLC0415 - brings the worker

        async with AsyncExitStack() as opened:
            chat = await opened.enter_async_context(LocalChat(reference, on_progress=show))
            running = opened.pop_all()
    async with running:
        yield LocalSource(chat)


class LocalSource:
    """A loaded model as a source of answers."""

    def __init__(self, chat: LocalChat) -> None:
        """Ask `chat`, which the caller closes."""
        self._chat = chat

    async def models(self) -> list[str]:
        """Return the one model there is."""
        return [self._chat.model]

    async def stream(self, body: dict[str, Any]) -> AsyncGenerator[Delta]:
        """Yield the pieces.

        Raises:
            ModelNotFound: another model is asked for. RequestError, EngineFault: as LocalChat.
        """
        if body["model"] != self._chat.model:
            msg = f"Only {self._chat.model} is loaded here, not {body['model']}."
            raise ModelNotFound(msg, param="model")
        parameters = {k: v for k, v in body.items() if k not in {"model", "messages"}}
        async with aclosing(self._chat.stream(body["messages"], parameters)) as pieces:
            async for text, finish_reason in pieces:
                yield Delta(text, finish_reason)

    async def complete(self, body: dict[str, Any]) -> Answer:
        """Return the answer; raises as `stream`."""
        text, reason = "", ""
        async with aclosing(self.stream(body)) as deltas:
            async for delta in deltas:
                text += delta.text
                reason = delta.finish_reason or reason
        return Answer(text, reason)
