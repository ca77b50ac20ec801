"""The bytes of OpenAI's answers: chunks of a stream, or one whole body.

Owns the JSON of chat completions and of plain completions. Knows no tokens and no sockets.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from services.worker.logprob_format import chat_logprobs, completion_logprobs
from services.worker.logprobs import Logprobs
from shared.protocol import sse


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that a request took in and gave out, over all of its choices."""

    prompt_tokens: int
    completion_tokens: int

    def as_openai(self) -> dict[str, int]:
        """Return OpenAI's usage object."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
        }


@dataclass(frozen=True, slots=True)
class Ended:
    """A choice as it ended."""

    text: str
    finish_reason: str
    logprobs: Logprobs = None


class AnswerFormat(ABC):
    """One request's answers in OpenAI's form."""

    id_prefix: str
    chunk_object: str
    body_object: str

    def __init__(
        self, *, answer_id: str, created: int, model: str, fingerprint: str, include_usage: bool
    ) -> None:
        """Keep what every chunk repeats."""
        self._head = {"id": answer_id, "created": created, "model": model}
        self._fingerprint = {"system_fingerprint": fingerprint}
        self._include_usage = include_usage

    @abstractmethod
    def _opening(self, choice: int) -> list[dict[str, Any]]: ...

    @abstractmethod
    def _delta(self, choice: int, text: str, logprobs: Logprobs) -> dict[str, Any]: ...

    @abstractmethod
    def _closing(self, choice: int, reason: str) -> dict[str, Any]: ...

    @abstractmethod
    def _whole(self, choice: int, ended: Ended) -> dict[str, Any]: ...

    def piece(
        self,
        choice: int,
        text: str,
        *,
        first: bool,
        logprobs: Logprobs = None,
        event_id: bytes = b"",
    ) -> bytes:
        """Return the events that carry text and logprobs; empty when there is nothing to say.

        The last of them gets the id, which is a whole line of the stream, if there is one.
        """
        choices = self._opening(choice) if first else []
        if text or logprobs:
            choices.append(self._delta(choice, text, logprobs))
        if not choices:
            return b""
        *former, last = [self._chunk([entry]) for entry in choices]
        return b"".join(former) + event_id + last

    def end(self, ended: Sequence[Ended], usage: Usage) -> bytes:
        """Return the stream's last events: finish reasons, usage if asked for, [DONE]."""
        last = b"".join(
            self._chunk([self._closing(i, e.finish_reason)]) for i, e in enumerate(ended)
        )
        if self._include_usage:
            last += self._chunk([], usage)
        return last + sse.DONE

    def body(self, ended: Sequence[Ended], usage: Usage) -> bytes:
        """Return the whole answer of a request without a stream."""
        return orjson.dumps(
            {
                **self._head,
                "object": self.body_object,
                "choices": [self._whole(index, entry) for index, entry in enumerate(ended)],
                "usage": usage.as_openai(),
                **self._fingerprint,
            }
        )

    def _chunk(self, choices: list[dict[str, Any]], usage: Usage | None = None) -> bytes:
        chunk: dict[str, Any] = {
            **self._head,
            "object": self.chunk_object,
            "choices": choices,
            **self._fingerprint,
        }
        if self._include_usage:
            chunk["usage"] = None if usage is None else usage.as_openai()
        return sse.event(chunk)


class ChatFormat(AnswerFormat):
    """`POST /v1/chat/completions`."""

    id_prefix = "chatcmpl-"
    chunk_object = "chat.completion.chunk"
    body_object = "chat.completion"

    def _opening(self, choice: int) -> list[dict[str, Any]]:
        return [self._entry(choice, {"role": "assistant", "content": ""})]

    def _delta(self, choice: int, text: str, logprobs: Logprobs) -> dict[str, Any]:
        return {**self._entry(choice, {"content": text}), "logprobs": chat_logprobs(logprobs)}

    def _closing(self, choice: int, reason: str) -> dict[str, Any]:
        return self._entry(choice, {}, reason)

    def _whole(self, choice: int, ended: Ended) -> dict[str, Any]:
        return {
            "index": choice,
            "message": {"role": "assistant", "content": ended.text, "refusal": None},
            "logprobs": chat_logprobs(ended.logprobs),
            "finish_reason": ended.finish_reason,
        }

    @staticmethod
    def _entry(choice: int, delta: dict[str, str], reason: str | None = None) -> dict[str, Any]:
        return {"index": choice, "delta": delta, "logprobs": None, "finish_reason": reason}


class CompletionFormat(AnswerFormat):
    """`POST /v1/completions`."""

    id_prefix = "cmpl-"
    chunk_object = body_object = "text_completion"

    def _opening(self, choice: int) -> list[dict[str, Any]]:
        del choice
        return []

    def _delta(self, choice: int, text: str, logprobs: Logprobs) -> dict[str, Any]:
        return self._entry(choice, text, None, logprobs)

    def _closing(self, choice: int, reason: str) -> dict[str, Any]:
        return self._entry(choice, "", reason)

    def _whole(self, choice: int, ended: Ended) -> dict[str, Any]:
        return self._entry(choice, ended.text, ended.finish_reason, ended.logprobs)

    @staticmethod
    def _entry(
        choice: int, text: str, reason: str | None, logprobs: Logprobs = None
    ) -> dict[str, Any]:
        told = completion_logprobs(logprobs)
        return {"index": choice, "text": text, "logprobs": told, "finish_reason": reason}
