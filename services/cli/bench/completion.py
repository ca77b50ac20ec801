"""One streamed completion: OpenAI's request, and its answer as a sample.

Owns what the stream's events mean: text, usage, finish reason, errors. Knows no sockets.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import orjson

from services.cli.bench.connection import Reply, Server
from services.cli.bench.endpoint import Endpoint
from services.cli.bench.sample import CountedBy, Outcome, Sample
from shared.errors import LLMZooError, MalformedAnswer, UpstreamFailed
from shared.protocol.sse import SSEDecoder

_DONE = b"[DONE]"
_REJECTIONS = (429, 503)
_MOST_FAULT_CHARS = 200
# Where a chat's delta may carry tokens; some servers give reasoning a field of its own.
_TEXTS = ("content", "reasoning_content", "reasoning", "tool_calls")


@dataclass(frozen=True, slots=True)
class Completions:
    """Requests that are alike but for their prompts; each is one `Ask` of a load."""

    server: Server
    endpoint: Endpoint
    model: str
    max_tokens: int
    ignore_eos: bool
    prompts: Iterator[str]
    timeout: float

    async def ask(self, sample: Sample) -> None:
        """Send one request and fill in what it took; no failure is raised."""
        stream = CompletionStream(sample, self.max_tokens)
        body = orjson.dumps(self._body(next(self.prompts)))
        try:
            async with asyncio.timeout(self.timeout):
                reply = await self.server.post(self.endpoint.path, body, stream.take)
            stream.end(reply)
        except LLMZooError as fault:
            sample.end(Outcome.FAILED, time.perf_counter(), fault.message)
        except TimeoutError:
            silence = f"no end after {self.timeout:g} s"
            sample.end(Outcome.FAILED, time.perf_counter(), silence)

    def _body(self, prompt: str) -> dict[str, Any]:
        chat = self.endpoint is Endpoint.CHAT
        asked = {"messages": [{"role": "user", "content": prompt}]} if chat else {"prompt": prompt}
        return {
            "model": self.model,
            **asked,
            "max_tokens": self.max_tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
            # Not OpenAI's: servers that do not know it refuse it.
            **({"ignore_eos": True} if self.ignore_eos else {}),
        }


class CompletionStream:
    """Reads one answer into its sample."""

    def __init__(self, sample: Sample, max_tokens: int) -> None:
        """Start with nothing read; `max_tokens` is what was asked for."""
        self._sample = sample
        self._max_tokens = max_tokens
        self._sse = SSEDecoder()
        self._usage: dict[str, Any] = {}
        self._finish_reason: str | None = None
        self._done = False

    def take(self, data: bytes, now: float) -> None:
        """Read what came at `now`.

        Raises:
            UpstreamFailed: an error event. MalformedAnswer: no stream of completions.
        """
        try:
            for event in self._sse.feed(data):
                if event == _DONE:
                    self._done = True
                else:
                    self._chunk(orjson.loads(event), now)
        except (ValueError, TypeError, AttributeError, LookupError) as fault:
            raise MalformedAnswer("The answer is no stream of completions.") from fault

    def end(self, reply: Reply) -> None:
        """Fill in how the request ended."""
        sample = self._sample
        if not reply.is_success:
            kind = Outcome.REJECTED if reply.status in _REJECTIONS else Outcome.FAILED
            sample.end(kind, reply.ended, f"{reply.status} {fault_text(reply.error)}".strip())
            return
        # [DONE] is OpenAI's; there are servers that end with the finish reason.
        if not self._done and self._finish_reason is None:
            sample.end(Outcome.FAILED, reply.ended, "The answer broke off before its end.")
            return
        self._count()
        if sample.output_tokens:
            sample.end(Outcome.COMPLETED, reply.ended)
        else:
            sample.end(Outcome.FAILED, reply.ended, "The answer has no tokens.")

    def _chunk(self, chunk: dict[str, Any], now: float) -> None:
        if error := chunk.get("error"):
            raise UpstreamFailed(f"An error ended the answer: {_message(error)}")
        self._usage = chunk.get("usage") or self._usage
        for choice in chunk.get("choices") or ():
            self._finish_reason = choice.get("finish_reason") or self._finish_reason
            delta: dict[str, Any] = choice.get("delta") or {}
            if choice.get("text") or any(delta.get(name) for name in _TEXTS):
                self._sample.arrivals.append(now)

    def _count(self) -> None:
        sample = self._sample
        sample.prompt_tokens = self._usage.get("prompt_tokens")
        if self._usage.get("completion_tokens") is not None:
            sample.output_tokens = int(self._usage["completion_tokens"])
            sample.counted_by = CountedBy.USAGE
        elif self._finish_reason == "length":
            sample.output_tokens = self._max_tokens
            sample.counted_by = CountedBy.MAX_TOKENS
        else:
            sample.output_tokens = len(sample.arrivals)
            sample.counted_by = CountedBy.PIECES


def fault_text(body: bytes) -> str:
    """Return what an error's body says, in one short line."""
    try:
        told: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        told = body.decode(errors="replace")
    if isinstance(told, dict):
        answer = cast("dict[str, Any]", told)
        told = answer.get("error") or answer.get("message") or answer.get("detail") or answer
    return _message(told)


def _message(error: object) -> str:
    if isinstance(error, dict):
        error = cast("dict[str, Any]", error).get("message") or cast("object", error)
    return " ".join(str(error).split())[:_MOST_FAULT_CHARS]
