"""A sequence: one choice of one request, from its prompt's token ids to its finish.

Owns what is known about a sequence while it lives. Knows no text, no tensor and no policy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, StrEnum

from shared.protocol.priority import Priority

NO_TOKEN = -1
"""Stands for a token id where the model gave no finite numbers."""

SequenceKey = tuple[str, int]
"""Request id and choice: what names a sequence within a worker."""


class FinishReason(StrEnum):
    """Why a sequence ended."""

    STOP = "stop"
    LENGTH = "length"
    ABORT = "abort"
    ERROR = "error"


class SequenceState(Enum):
    """Where a sequence is: in the queue, in a slot, or gone."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """How tokens are drawn and when to stop, each named as in vLLM.

    `max_tokens` is 1 or more and `temperature` 0 is greedy. The other defaults ask for nothing:
    `top_k` 0 keeps every token, `logit_bias` is pairs of token id and bias, `logprobs` is the
    number of the likeliest tokens told beside each token, None for no logprobs at all.
    """

    max_tokens: int
    seed: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    logprobs: int | None = None
    min_tokens: int = 0
    ignore_eos: bool = False
    stop_token_ids: frozenset[int] = frozenset()

    @property
    def penalises(self) -> bool:
        """Whether a token is less likely for having come before."""
        penalties = self.frequency_penalty, self.presence_penalty
        return self.repetition_penalty != 1 or any(penalties)


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """A token's natural logarithm of its probability; `top`: ids and logprobs, likeliest first."""

    logprob: float
    top: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a step gave a sequence: a token's id and its logprobs.

    Where it has none the id is `NO_TOKEN`, and `error` is what a caller may be told of that.
    """

    token_id: int
    logprobs: TokenLogprobs | None = None
    error: str = ""


@dataclass(slots=True, eq=False)
class Sequence:
    """One choice of one request; `choice` counts from 0 within the request.

    `computed` counts the tokens, from the first, whose keys and values its row holds, or will
    hold after the step that is planned; a sequence that waits holds none. Outputs that it comes
    with were emitted elsewhere or before: they are computed again and not drawn again. `draft` is
    what the planned step tries after the last token. `beginning` are numbers that stand for what
    the request begins with; they are kept with its prefix and not read. `admitted_at` is when it
    got its first row, in seconds of the monotonic clock; 0 until then.
    """

    request_id: str
    choice: int
    prompt_ids: tuple[int, ...]
    params: SamplingParams
    priority: Priority = Priority.INTERACTIVE
    output_ids: list[int] = field(default_factory=list[int])
    state: SequenceState = SequenceState.WAITING
    finish_reason: FinishReason | None = None
    computed: int = 0
    draft: tuple[int, ...] = ()
    beginning: tuple[int, ...] = ()
    admitted_at: float = 0.0

    @property
    def key(self) -> SequenceKey:
        """What names the sequence within a worker."""
        return self.request_id, self.choice

    @property
    def length(self) -> int:
        """Tokens of prompt and output together."""
        return len(self.prompt_ids) + len(self.output_ids)

    @property
    def token_ids(self) -> tuple[int, ...]:
        """Prompt and output."""
        return (*self.prompt_ids, *self.output_ids)

    @property
    def draws(self) -> bool:
        """Whether the next token is not known yet once the planned step is done."""
        return self.computed == self.length

    def token(self, index: int) -> int:
        """Return the token at a position in prompt and output together."""
        prompt = len(self.prompt_ids)
        return self.prompt_ids[index] if index < prompt else self.output_ids[index - prompt]

    @property
    def too_short(self) -> bool:
        """Whether it may not end yet."""
        return len(self.output_ids) < self.params.min_tokens

    @property
    def remaining(self) -> int:
        """The most tokens that it may still generate."""
        return self.params.max_tokens - len(self.output_ids)

    def ending(self, eos_token_ids: frozenset[int], max_model_len: int) -> FinishReason | None:
        """Return why the last token of the output ends the sequence; None: it does not."""
        params, token = self.params, self.output_ids[-1]
        if token in params.stop_token_ids or (not params.ignore_eos and token in eos_token_ids):
            return FinishReason.STOP
        full = self.length >= max_model_len
        return FinishReason.LENGTH if full or self.remaining <= 0 else None
