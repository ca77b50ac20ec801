"""A model in this process, without any server: what `llmzoo chat --local MODEL` talks to.

Owns an engine for one conversation at a time; requests are checked and answered by the very
code of the service. Knows no HTTP and no Redis.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Self

from prometheus_client import CollectorRegistry

from services.worker.admission import admit_chat
from services.worker.choice import Delta
from services.worker.daemon_thread import in_daemon_thread
from services.worker.generation import Generation
from services.worker.metrics import WorkerMetrics
from services.worker.opening import open_model
from services.worker.served_model import ServedModel
from shared.errors import Unavailable
from shared.progress import ProgressCallback, ignore_progress
from shared.protocol.openai import parse_chat
from shared.settings import WorkerSettings, load


class LocalChat:
    """A context: entering loads the model, leaving frees it.

    Example:
        async with LocalChat("demo", on_progress=show) as chat:
            async for text, finish_reason in chat.stream(messages, {"temperature": 0}):
                ...
    """

    def __init__(
        self,
        reference: str,
        *,
        on_progress: ProgressCallback = ignore_progress,
        **overrides: object,
    ) -> None:
        """Prepare; `overrides` are fields of `WorkerSettings`.

        Raises:
            ConfigurationError: an override or a variable of the environment does not fit.
        """
        self._settings = load(
            WorkerSettings, **{"max_num_seqs": 1, **overrides, "model": reference}
        )
        self._on_progress = on_progress
        self._served: ServedModel | None = None
        self._metrics: WorkerMetrics | None = None

    @property
    def model(self) -> str:
        """The model's name, once it is loaded."""
        return self._loaded().name

    async def __aenter__(self) -> Self:
        """Load the model in a thread.

        Raises:
            ModelLoadError: it cannot be had or served. ConfigurationError: a setting is wrong.
        """
        self._served = await in_daemon_thread(lambda: open_model(self._settings, self._on_progress))
        self._served.engine.start(asyncio.get_running_loop())
        self._metrics = WorkerMetrics(CollectorRegistry(), self._served.name)
        return self

    async def __aexit__(self, *_: object) -> None:
        """End the engine."""
        await self._loaded().engine.stop()

    async def stream(
        self, messages: Sequence[Mapping[str, Any]], params: Mapping[str, Any] | None = None
    ) -> AsyncGenerator[tuple[str, str | None]]:
        """Yield pieces of the answer; the last one carries the finish reason.

        Closing the generator early ends the answer.

        Args:
            messages: as in a chat completion request.
            params: the request's other parameters, such as temperature, max_tokens, stop, seed.

        Raises:
            RequestError: a message or a parameter is at fault. EngineFault: the engine is.
        """
        started = time.monotonic()
        served = self._loaded()
        assert self._metrics is not None
        body = {**(params or {}), "model": served.name, "messages": list(messages)}
        request = await admit_chat(parse_chat(body), served)
        async with (
            Generation(request, served, self._metrics, started) as generation,
            aclosing(generation.deltas()) as deltas,
        ):
            async for delta in deltas:
                if isinstance(delta, Delta) and (delta.text or delta.finish_reason):
                    yield delta.text, delta.finish_reason

    def _loaded(self) -> ServedModel:
        if self._served is None:
            raise Unavailable("No model is loaded.")
        return self._served
