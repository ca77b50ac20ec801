"""One answer of a mock engine: frames for a controller, OpenAI's form for others.

What it says follows from its request. So the frames that were sent can be made again for another
reader, from nothing but whose turn it was at each number.
"""

from __future__ import annotations

import math

import orjson

from services.worker.answer_format import Ended, Usage
from shared.errors import LLMZooError, TakenOver
from shared.protocol import sse
from shared.protocol.event_id import event_id_stem
from shared.protocol.frames import (
    MEDIA_TYPE,
    EndFrame,
    ErrorFrame,
    LedgerFrame,
    StartFrame,
    TokensFrame,
    encode,
)
from tests.fakes.mock.asked import EngineRequest
from tests.fakes.mock.reader import Reader
from tests.fakes.mock.scheduler import Sequence

_TAKEN_OVER = ErrorFrame(
    409,
    {
        "message": "Another reader has taken this answer over.",
        "type": "invalid_request_error",
        "param": None,
        "code": TakenOver.default_code,
    },
)


class Answer:
    """Takes tokens as the engine makes them; what one step gave goes out at once."""

    def __init__(
        self,
        request: EngineRequest,
        reader: Reader,
        known_as: str,
        *,
        worker: str,
        key: str,
        framed: bool,
        batch: bool,
    ) -> None:
        self.request = request
        self.reader: Reader | None = reader
        self.known_as = known_as
        self.key = key
        self.framed = framed
        self.done = False
        self.forget_at = math.inf
        """When nobody may take it over any more, by the monotonic clock."""
        self.first = self.number = request.last_number
        """Of the frame before the first one here, and of the newest one."""
        self.sequences = [
            Sequence(
                self,
                choice,
                request.prompt_tokens + len(ids),
                script.length,
                request.chain,
                done=len(ids),
                batch=batch,
            )
            for choice, (ids, script) in enumerate(
                zip(request.emitted, request.scripts, strict=True)
            )
            if len(ids) < script.length
        ]
        self._stem = event_id_stem(worker, request.id).encode()
        self._turns: list[int] = []
        self._start = b""

    @property
    def open_sequences(self) -> bool:
        return any(s.done < s.max_tokens for s in self.sequences)

    def start(self, model: str, fingerprint: str) -> None:
        """Say that the request is admitted."""
        request = self.request
        assert self.reader is not None
        if self.framed:
            self._start = encode(
                StartFrame(
                    request.id,
                    request.created,
                    model,
                    request.seed,
                    request.prompt_tokens,
                    fingerprint,
                    request.choices,
                    deterministic=True,
                )
            )
            self._greet(self.reader)
        elif request.stream:
            self.reader.connection.begin("text/event-stream; charset=utf-8")

    def token(self, sequence: Sequence[Answer]) -> None:
        """Take the next token of a choice."""
        choice = sequence.choice
        self.number += 1
        if self.framed:
            self._turns.append(choice)
        if self.reader is not None:
            self.reader.put(self._said(self.number, choice, sequence.done - 1))

    def flush(self) -> None:
        """Send what there is to say, and the end, if this was it."""
        if not self.done and not self.open_sequences:
            self.done = True
            if self.reader is not None:
                self._end(self.reader)
        elif self.reader is not None:
            self.reader.flush()

    def fail(self, fault: LLMZooError) -> None:
        """End with an error."""
        self.done = True
        if self.reader is None:
            return
        connection = self.reader.connection
        error = fault.as_openai()["error"]
        if self.framed:
            frame = ErrorFrame(fault.status, error, fault.retry_after)
            connection.chunk(encode(frame), last=True)
        elif self.request.stream:
            connection.chunk(sse.event({"error": error}), last=True)
        else:
            connection.respond(fault.status, orjson.dumps({"error": error}))

    def hand_over(self, reader: Reader, known_as: str, after: int) -> None:
        """Let `reader` go on after that frame, in the place of whoever reads now."""
        if self.reader is not None and not self.done:
            self.reader.connection.chunk(encode(_TAKEN_OVER), last=True)
        self.reader, self.known_as = reader, known_as
        told = [list(ids) for ids in self.request.emitted]
        positions = [len(ids) for ids in told]
        rest: list[bytes] = []
        for number, choice in enumerate(self._turns, self.first + 1):
            position = positions[choice]
            positions[choice] += 1
            if number <= after:
                told[choice].append(self.request.scripts[choice].token(position))
            else:
                rest.append(self._said(number, choice, position))
        self._greet(reader)
        for frame in (encode(LedgerFrame(after, told)), *rest):
            reader.put(frame)
        if self.done:
            self._end(reader)
        reader.flush()

    def text(self, choice: int) -> str:
        return self.request.scripts[choice].whole()[0]

    def _greet(self, reader: Reader) -> None:
        reader.connection.begin(MEDIA_TYPE)
        reader.put(self._start)
        reader.flush()

    def _said(self, number: int, choice: int, position: int) -> bytes:
        """Return the bytes that a token is told with."""
        request = self.request
        script = request.scripts[choice]
        made = script.token(position)
        data = b""
        if request.stream:
            text, logprobs = script.piece(position, made)
            data = request.form.piece(choice, text, first=position == 0, logprobs=logprobs)
        if not self.framed:
            return data
        if data:
            before, gap, last = data[:-2].rpartition(b"\n\n")
            data = b"%b%bid: %b%d\n%b\n\n" % (before, gap, self._stem, number, last)
        return encode(TokensFrame(number, choice, (made,), data))

    def _end(self, reader: Reader) -> None:
        """Send the rest, which brings the end."""
        if reader.silent:
            return
        request = self.request
        told = [(*script.whole(), script.reason) for script in request.scripts]
        ended = [Ended(text, reason, logprobs) for text, logprobs, reason in told]
        usage = Usage(request.prompt_tokens, sum(script.length for script in request.scripts))
        data = (request.form.end if request.stream else request.form.body)(ended, usage)
        if self.framed:
            reasons = [script.reason for script in request.scripts]
            frame = EndFrame(reasons, usage.prompt_tokens, usage.completion_tokens, data)
            reader.put(encode(frame))
            reader.flush(last=True)
        elif request.stream:
            reader.put(data)
            reader.flush(last=True)
        else:
            reader.connection.respond(200, data)
