"""One answer of a mock engine on its way out: frames for a controller, OpenAI's form for others."""

from __future__ import annotations

import time

import orjson

from services.worker.answer_format import Ended, Usage
from shared.errors import LLMZooError
from shared.protocol import sse
from shared.protocol.frames import (
    MEDIA_TYPE,
    EndFrame,
    ErrorFrame,
    Frame,
    KeepaliveFrame,
    StartFrame,
    TokensFrame,
    encode,
)
from tests.fakes.mock.asked import EngineRequest
from tests.fakes.mock.faults import Fault, FaultKind
from tests.fakes.mock.http import HttpConnection
from tests.fakes.mock.scheduler import Sequence
from tests.fakes.mock.words import WORDS, token

KEEPALIVE_SECONDS = 1.0
_MALFORMED = b"\x00\x00\x00\x02\xffx"
_TOUCHY = frozenset({FaultKind.STALL, FaultKind.BREAK, FaultKind.MALFORMED})


class Answer:
    """Takes tokens as the engine makes them; what one step gave goes out at once."""

    def __init__(
        self,
        request: EngineRequest,
        connection: HttpConnection,
        known_as: str,
        fault: Fault,
        *,
        framed: bool,
        batch: bool,
    ) -> None:
        self.request = request
        self.known_as = known_as
        self.framed = framed
        self.done = self.silent = False
        self.sequences = [
            Sequence(
                self,
                choice,
                request.prompt_tokens + len(ids),
                request.max_tokens,
                request.chain,
                done=len(ids),
                batch=batch,
            )
            for choice, ids in enumerate(request.emitted)
            if len(ids) < request.max_tokens
        ]
        self._connection = connection
        self._fault = fault
        self._frames_left = fault.frames if fault.kind in _TOUCHY else -1
        self._number = request.last_number
        self._ids = [list(ids) for ids in request.emitted]
        self._pending = b""
        self._said = time.monotonic()

    @property
    def open_sequences(self) -> bool:
        return any(s.done < s.max_tokens for s in self.sequences)

    def start(self, model: str, fingerprint: str) -> None:
        """Say that the request is admitted."""
        request = self.request
        if self.framed:
            self._connection.begin(MEDIA_TYPE)
            self._frame(
                StartFrame(
                    request.id,
                    request.created,
                    model,
                    request.seed,
                    request.prompt_tokens,
                    fingerprint,
                )
            )
            self.flush()
        elif request.stream:
            self._connection.begin("text/event-stream; charset=utf-8")

    def token(self, sequence: Sequence[Answer]) -> None:
        """Take the next token of a choice."""
        choice, position = sequence.choice, sequence.done - 1
        made = token(self.request.key, choice, position)
        self._ids[choice].append(made)
        data = b""
        if self.request.stream:
            data = self.request.form.piece(choice, WORDS[made], first=position == 0)
        self._number += 1
        if self.framed:
            self._frame(TokensFrame(self._number, choice, (made,), data))
        elif not self.silent:
            self._meet_fault()
            self._pending += data

    def flush(self) -> None:
        """Send what there is to say, and the end, if this was it."""
        if not self.done and not self.silent and not self.open_sequences:
            self._end()
        elif self._pending:
            self._connection.chunk(self._pending)
            self._pending = b""
            self._said = time.monotonic()

    def keep_alive(self, now: float) -> None:
        """Show a controller that the worker lives, after a second without a word."""
        if self.framed and not self.silent and now - self._said >= KEEPALIVE_SECONDS:
            self._frame(KeepaliveFrame())
            self.flush()

    def fail(self, fault: LLMZooError) -> None:
        """End with an error."""
        self.done = True
        error = fault.as_openai()["error"]
        if self.framed:
            self._connection.chunk(
                encode(ErrorFrame(fault.status, error, fault.retry_after)), last=True
            )
        elif self.request.stream:
            self._connection.chunk(sse.event({"error": error}), last=True)
        else:
            self._connection.respond(fault.status, orjson.dumps({"error": error}))

    def text(self, choice: int) -> str:
        return "".join(WORDS[made] for made in self._ids[choice])

    def _end(self) -> None:
        request = self.request
        self.done = True
        texts = [self.text(choice) for choice in range(request.choices)]
        ended = [Ended(text, request.finish_reason) for text in texts]
        usage = Usage(request.prompt_tokens, sum(map(len, self._ids)))
        data = (request.form.end if request.stream else request.form.body)(ended, usage)
        if self.framed:
            reasons = [request.finish_reason] * request.choices
            self._frame(EndFrame(reasons, usage.prompt_tokens, usage.completion_tokens, data))
            if not self.silent:
                self._connection.chunk(self._pending, last=True)
        elif request.stream:
            self._connection.chunk(self._pending + data, last=True)
        else:
            self._connection.respond(200, data)
        self._pending = b""

    def _frame(self, frame: Frame) -> None:
        if not self.silent:
            self._meet_fault()
        if not self.silent:
            self._pending += encode(frame)

    def _meet_fault(self) -> None:
        """Count a frame down; at zero, do the wrong thing and say nothing more."""
        if self._frames_left:
            self._frames_left -= 1
            return
        if self._pending:
            self._connection.chunk(self._pending)
            self._pending = b""
        self.silent = True
        if self._fault.kind is FaultKind.BREAK:
            self._connection.cut()
        elif self._fault.kind is FaultKind.MALFORMED:
            self._connection.chunk(_MALFORMED)
