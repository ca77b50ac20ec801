"""One choice of an answer: its text and logprobs, from the engine's outputs.

Owns the way of a token through detokeniser, stop strings and logprobs, and when a choice has
ended. Knows neither the other choices nor the engine.
"""

from __future__ import annotations

from dataclasses import dataclass

from services.worker.answer_format import Ended
from services.worker.detokenizer import Detokenizers
from services.worker.engine.engine import StepOutput
from services.worker.engine.sequence import FinishReason, SamplingParams
from services.worker.logprobs import LogprobEntry, LogprobQueue, Logprobs
from services.worker.stop_strings import StopStrings


@dataclass(frozen=True, slots=True)
class Delta:
    """New tokens of one choice and the text they make certain; `finish_reason` with the last.

    `logprobs` are those of the tokens whose text this is.
    """

    choice: int
    token_ids: tuple[int, ...]
    text: str
    first: bool
    finish_reason: str | None
    logprobs: Logprobs = None


class Choice:
    """One choice's text as far as it is."""

    def __init__(
        self,
        index: int,
        params: SamplingParams,
        detokenizers: Detokenizers,
        stop_strings: tuple[str, ...],
        echo: str = "",
    ) -> None:
        """Start; the text begins with `echo`, in which no stop string is looked for."""
        self._index = index
        self._min_tokens = params.min_tokens
        self._detokenizer = detokenizers.new()
        self._stops = StopStrings(stop_strings)
        asked = params.logprobs is not None
        self._queue = LogprobQueue(detokenizers.pieces) if asked else None
        self._echo = echo
        self._text: list[str] = []
        self._logprobs: list[LogprobEntry] = []
        self._finish_reason: str | None = None
        self.token_count = 0

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self._finish_reason is not None

    def ended(self) -> Ended:
        """Return the whole text, its logprobs and the finish reason."""
        logprobs = None if self._queue is None else tuple(self._logprobs)
        return Ended("".join(self._text), self._finish_reason or "", logprobs)

    def take(self, outputs: list[StepOutput]) -> Delta:
        """Take steps in, up to a stop string."""
        first = self.token_count == 0
        ids: list[int] = []
        pieces = [self._echo]
        told = len(self._logprobs)
        self._echo = ""
        for output in outputs:
            if output.token_id is not None:
                ids.append(output.token_id)
                self.token_count += 1
            piece = self._piece(output)
            pieces.append(piece)
            self._tell(piece)
            if self._finish_reason is not None:
                break
        text = "".join(pieces)
        self._text.append(text)
        logprobs = None if self._queue is None else tuple(self._logprobs[told:])
        return Delta(self._index, tuple(ids), text, first, self._finish_reason, logprobs)

    def _piece(self, output: StepOutput) -> str:
        text = ""
        # The token that ends a turn is no part of its text, special or not.
        if output.token_id is not None and output.finish_reason is not FinishReason.STOP:
            certain = self._detokenizer.feed(output.token_id)
            if self._queue is not None and output.logprobs is not None:
                self._queue.add(output.token_id, output.logprobs, certain)
            # As in vLLM, no stop string ends an answer within its least length, nor begins there.
            text = certain if self.token_count <= self._min_tokens else self._stops.feed(certain)
        if output.finish_reason in {FinishReason.STOP, FinishReason.LENGTH}:
            text += self._stops.feed(self._detokenizer.flush()) + self._stops.flush()
            self._finish_reason = str(output.finish_reason)
        if self._stops.matched:
            self._finish_reason = str(FinishReason.STOP)
        return text

    def _tell(self, text: str) -> None:
        """Let go the logprobs of text that is shown, and of what is left when all of it is."""
        if self._queue is None:
            return
        self._logprobs += self._queue.show(text)
        if self._finish_reason is not None and not self._stops.matched:
            self._logprobs += self._queue.flush()
