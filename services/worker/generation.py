"""One request's generation: its sequences on the engine, and their text as it grows.

Owns what happens between admission and the last token: submitting, merging the choices,
cancelling, and that nothing is left in the engine whatever
happens. Knows neither JSON nor HTTP.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from services.worker.admission import AdmittedRequest
from services.worker.answer_format import Ended, Usage
from services.worker.choice import Choice, Delta
from services.worker.choice_timer import ChoiceTimer
from services.worker.engine.engine import StepOutput
from services.worker.engine.sequence import FinishReason
from services.worker.metrics import WorkerMetrics
from services.worker.served_model import ServedModel
from shared.errors import EngineFault, LLMZooError, Unavailable

ABORTED = "aborted"
"""Code of the failure that ends a request which nobody waits for any more."""

# Bounds a frame; its counts of tokens have 16 bits.
_MOST_OUTPUTS = 1024


class Silence:
    """No token came for a while."""


class Generation:
    """A context: entering submits the sequences, leaving aborts those that still run."""

    def __init__(
        self,
        request: AdmittedRequest,
        served: ServedModel,
        metrics: WorkerMetrics,
        started: float,
        silence_seconds: float = 1.0,
    ) -> None:
        """Prepare.

        Args:
            request: what to generate.
            served: the model.
            metrics: where tokens and times are counted.
            started: when the request came in, on the monotonic clock.
            silence_seconds: how long no token comes before `deltas` says so.
        """
        self.request = request
        self.deterministic = served.deterministic
        self._engine = served.engine
        self._metrics = metrics
        self._started = started
        self._silence_seconds = silence_seconds
        self._choices = _choices(request, served)
        self._running = {i for i, choice in enumerate(self._choices) if not choice.over}
        self._outputs: asyncio.Queue[StepOutput | Silence] = asyncio.Queue()
        self._heard_at = 0.0
        self._first_token_came = any(choice.token_count for choice in self._choices)
        self._timers: dict[int, ChoiceTimer] = {}
        self._pumps: list[asyncio.Task[None]] = []
        self._aborted: LLMZooError = Unavailable("This worker is shutting down.", retry_after=1)

    async def __aenter__(self) -> Self:
        """Submit, and raise as `submit` does."""
        self.submit()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Release whatever still runs."""
        self.release()

    def submit(self) -> None:
        """Submit the sequence of every choice that is not over, or none.

        Who calls this and is no context calls `release` at the end.

        Raises:
            Overloaded: there are not places enough. Unavailable: the engine has stopped.
        """
        streams: list[AsyncIterator[StepOutput]] = []
        wanted = [self.request.sequences[choice] for choice in sorted(self._running)]
        try:
            for sequence in wanted:
                streams.append(self._engine.submit(sequence))  # noqa: PERF401 - keeps what went in
        except LLMZooError:
            for sequence in wanted[: len(streams)]:
                self._engine.abort(sequence.request_id)
            raise
        now = time.monotonic()
        sequences = self.request.sequences
        self._timers = {i: ChoiceTimer(self._metrics, sequences[i], now) for i in self._running}
        self._pumps = [asyncio.create_task(self._pump(stream)) for stream in streams]
        self._metrics.prompt_tokens.inc(self.request.prompt_tokens)

    def release(self) -> None:
        """Abort whatever still runs."""
        for choice in self._running:
            self._engine.abort(self.request.sequences[choice].request_id)
            self._metrics.count_finish("abort")
            self._time_end(choice)
        for pump in self._pumps:
            pump.cancel()
        self._metrics.request_latency.observe(time.monotonic() - self._started)

    def abort(self, reason: LLMZooError) -> None:
        """End the request before the engine's next step; `deltas` then raises `reason`."""
        self._aborted = reason
        for choice in self._running:
            self._engine.abort(self.request.sequences[choice].request_id)

    async def deltas(self) -> AsyncGenerator[Delta | Silence]:
        """Yield what the engine gives, until every choice has ended.

        What has piled up while the reader was slow comes as one delta a choice. Tokens of a
        resumed answer that come again are silence to the reader.

        Raises:
            EngineFault: a step failed, or a resumed answer would become another one. Otherwise
                the reason given to `abort`.
        """
        with self._told_of_silence():
            while self._running:
                output = await self._outputs.get()
                if isinstance(output, Silence):
                    yield output
                    continue
                outputs = self._with_what_piled_up(output)
                for choice in sorted({output.choice for output in outputs} & self._running):
                    delta = self._advance(choice, [o for o in outputs if o.choice == choice])
                    yield delta if delta.token_ids else Silence()

    def ended(self) -> list[Ended]:
        """Return all choices, once `deltas` is exhausted."""
        return [choice.ended() for choice in self._choices]

    def usage(self) -> Usage:
        """Return the tokens taken in and given out so far."""
        generated = sum(choice.token_count for choice in self._choices)
        return Usage(self.request.prompt_tokens, generated)

    async def _pump(self, stream: AsyncIterator[StepOutput]) -> None:
        async for output in stream:
            self._outputs.put_nowait(output)

    def _with_what_piled_up(self, first: StepOutput) -> list[StepOutput]:
        outputs = [first]
        while len(outputs) < _MOST_OUTPUTS and not self._outputs.empty():
            output = self._outputs.get_nowait()
            if not isinstance(output, Silence):
                outputs.append(output)
        self._heard_at = time.monotonic()
        return outputs

    @contextmanager
    def _told_of_silence(self) -> Generator[None]:
        """Let a silence stand among the outputs after each while without any.

        One timer looks back: to set one for each token would cost more than its text.
        """
        loop = asyncio.get_running_loop()

        def look() -> None:
            nonlocal timer
            left = self._heard_at + self._silence_seconds - time.monotonic()
            if left <= 0:
                left = self._silence_seconds
                if self._outputs.empty():
                    self._outputs.put_nowait(Silence())
            timer = loop.call_later(left, look)

        self._heard_at = time.monotonic()
        timer = loop.call_later(self._silence_seconds, look)
        try:
            yield
        finally:
            timer.cancel()

    def _advance(self, index: int, outputs: list[StepOutput]) -> Delta:
        choice = self._choices[index]
        delta = choice.take(outputs)
        self._observe(index, len(delta.token_ids))
        engine_reason = outputs[-1].finish_reason
        if delta.finish_reason is None and engine_reason is not None:
            self._running.discard(index)
            self._time_end(index)
            if engine_reason is FinishReason.ERROR:
                told = outputs[-1].error or "The engine failed while it generated this answer."
                raise EngineFault(told)
            self._metrics.count_finish("abort")
            raise self._aborted
        if delta.finish_reason is not None:
            self._running.discard(index)
            self._time_end(index)
            self._metrics.count_finish(delta.finish_reason)
            if engine_reason is None:
                # A stop string: the engine does not know of it and must not go on.
                self._engine.abort(self.request.sequences[index].request_id)
        return delta

    def _observe(self, index: int, tokens: int) -> None:
        if not tokens:
            return
        now = time.monotonic()
        self._metrics.generation_tokens.inc(tokens)
        if not self._first_token_came:
            self._first_token_came = True
            self._metrics.time_to_first_token.observe(now - self._started)
        self._timers[index].generated(tokens, now)

    def _time_end(self, index: int) -> None:
        timer = self._timers.pop(index, None)
        # Without one nothing was submitted.
        if timer is not None:
            timer.end(self._choices[index].token_count, time.monotonic())


def _choices(request: AdmittedRequest, served: ServedModel) -> list[Choice]:
    if request.begun is not None:
        return list(request.begun.choices)
    return [
        Choice(i, sequence.params, served.detokenizers, request.stop_strings, echo)
        for i, (sequence, echo) in enumerate(zip(request.sequences, request.echoes, strict=True))
    ]
