"""The requests of OpenAI's API that this server takes: every parameter, its type and range.

Owns what is a valid request. What a valid value does is the worker's business; values that
nobody here can honour yet are refused by name (`_UNSERVED`), never ignored. Names, types and
limits are those of OpenAI's API reference; the parameters it lacks are named as in vLLM.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, TypeVar, cast

from pydantic import Field, ValidationError, model_validator

from shared.errors import InvalidRequest, UnsupportedParameter
from shared.protocol.validation import Strict, as_invalid_request

INT64 = 2**63
MAX_CHOICES = 128
MAX_PROMPTS = 64

Text = Annotated[str, Field(min_length=1)]
TokenIds = Annotated[list[Annotated[int, Field(ge=0, lt=2**31)]], Field(min_length=1)]

_ROLES = ("system", "developer", "user", "assistant")
_UNSERVED_ROLES = ("tool", "function")

_UNSERVED: dict[str, tuple[Any, ...]] = {
    # parameter: the values that ask for nothing; any other is refused
    "audio": (),
    "best_of": (1,),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "modalities": (["text"],),
    "parallel_tool_calls": (True, False),
    "prediction": (),
    "reasoning_effort": ("none",),
    "response_format": ({"type": "text"},),
    "suffix": ("",),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "verbosity": ("medium",),
    "web_search_options": (),
}


class TextPart(Strict):
    """One text part of a message's content."""

    type: Literal["text"]
    text: str


class Message(Strict):
    """One message of a conversation. `name` reaches no template and has no effect."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | Annotated[list[TextPart], Field(min_length=1)]
    name: Text | None = None
    refusal: None = None
    audio: None = None
    function_call: None = None
    annotations: Annotated[list[Any], Field(max_length=0)] | None = None
    tool_calls: Annotated[list[Any], Field(max_length=0)] | None = None

    @property
    def text(self) -> str:
        """Return the content as one string."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content)


class StreamOptions(Strict):
    """What a stream carries beside the answer. Obfuscation has no effect here."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


Metadata = Annotated[
    dict[
        Annotated[str, Field(max_length=64)],
        Annotated[str, Field(max_length=512)],
    ],
    Field(max_length=16),
]
TokenBias = Annotated[
    dict[
        Annotated[str, Field(pattern=r"^\d{1,10}$")],
        Annotated[float, Field(ge=-100, le=100)],
    ],
    Field(max_length=300),
]
StopTokenIds = Annotated[list[Annotated[int, Field(ge=0, lt=2**31)]], Field(max_length=300)]


class _Sampled(Strict):
    """What chat and plain completions share."""

    model: Text
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    ignore_eos: bool | None = None  # vLLM's
    logit_bias: TokenBias | None = None
    max_tokens: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    metadata: Metadata | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None  # vLLM's
    min_tokens: Annotated[int, Field(ge=0, lt=2**31)] | None = None  # vLLM's
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    prompt_cache_key: str | None = None
    # vLLM's, which takes any positive number; beyond these, logits leave float32's range.
    repetition_penalty: Annotated[float, Field(ge=0.01, le=100)] | None = None
    safety_identifier: str | None = None
    seed: Annotated[int, Field(ge=-INT64, lt=INT64)] | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority"] | None = None
    stop: Text | Annotated[list[Text], Field(max_length=4)] | None = None
    stop_token_ids: StopTokenIds | None = None  # vLLM's
    store: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_k: Annotated[int, Field(ge=-1, lt=2**31)] | None = None  # vLLM's; 0 and -1: every token
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    user: str | None = None

    @property
    def choices(self) -> int:
        """Return the number of answers asked for."""
        return self.n or 1

    @property
    def stop_strings(self) -> tuple[str, ...]:
        """Return the stop strings, none, one or several."""
        if self.stop is None:
            return ()
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)

    @property
    def include_usage(self) -> bool:
        """Return whether a stream ends with a usage chunk."""
        return bool(self.stream_options and self.stream_options.include_usage)

    @model_validator(mode="after")
    def _stream_options_need_a_stream(self) -> Self:
        if self.stream_options is not None and not self.stream:
            msg = "'stream_options' is only allowed when 'stream' is true."
            raise InvalidRequest(msg, param="stream_options")
        return self


class ChatCompletionRequest(_Sampled):
    """Body of `POST /v1/chat/completions`."""

    messages: Annotated[list[Message], Field(min_length=1)]
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None  # as vLLM has both
    audio: dict[str, Any] | None = None
    function_call: str | dict[str, Any] | None = None
    functions: list[dict[str, Any]] | None = None
    logprobs: bool | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    modalities: list[str] | None = None
    parallel_tool_calls: bool | None = None
    prediction: dict[str, Any] | None = None
    reasoning_effort: str | None = None
    response_format: dict[str, Any] | None = None
    tool_choice: str | dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    verbosity: Literal["low", "medium", "high"] | None = None
    web_search_options: dict[str, Any] | None = None

    @property
    def answer_tokens(self) -> int | None:
        """Return the most tokens an answer may have; None: as many as fit."""
        return self.max_completion_tokens or self.max_tokens

    @model_validator(mode="after")
    def _limits_agree(self) -> Self:
        both = (self.max_tokens, self.max_completion_tokens)
        if None not in both and both[0] != both[1]:
            msg = "'max_tokens' and 'max_completion_tokens' differ; give one of them."
            raise InvalidRequest(msg, param="max_tokens")
        if self.top_logprobs is not None and not self.logprobs:
            msg = "'top_logprobs' is only allowed when 'logprobs' is true."
            raise InvalidRequest(msg, param="top_logprobs")
        return self


class CompletionRequest(_Sampled):
    """Body of `POST /v1/completions`: one prompt or several, as text or token ids."""

    prompt: (
        str
        | Annotated[list[str], Field(min_length=1, max_length=MAX_PROMPTS)]
        | TokenIds
        | Annotated[list[TokenIds], Field(min_length=1, max_length=MAX_PROMPTS)]
    )
    best_of: Annotated[int, Field(ge=1, le=20)] | None = None
    echo: bool | None = None
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    suffix: str | None = None

    @property
    def answer_tokens(self) -> int:
        """Return the most tokens an answer may have; OpenAI's default is 16."""
        return self.max_tokens or 16

    @property
    def prompts(self) -> list[str] | list[list[int]]:
        """Return the prompts as a list, all text or all token ids."""
        match self.prompt:
            case str() as text:
                return [text]
            case [int(), *_]:
                return [self.prompt]  # type: ignore[list-item]
            case _:
                return self.prompt  # type: ignore[return-value]

    @model_validator(mode="after")
    def _prompts_have_no_logprobs(self) -> Self:
        if self.echo and self.logprobs is not None:
            msg = "'echo' together with 'logprobs' is not served yet; leave one of them out."
            raise UnsupportedParameter(msg, param="echo")
        return self


Request = TypeVar("Request", bound=_Sampled)


def parse_chat(body: dict[str, Any]) -> ChatCompletionRequest:
    """Return the validated chat request.

    Raises:
        InvalidRequest: names the first parameter that is missing, mistyped, unknown, out of
            range or not served.
    """
    refuse_unserved_roles(body)
    return _parse(ChatCompletionRequest, body)


def parse_completion(body: dict[str, Any]) -> CompletionRequest:
    """Return the validated completion request; raises as `parse_chat`."""
    return _parse(CompletionRequest, body)


def _parse(shape: type[Request], body: dict[str, Any]) -> Request:
    try:
        request = shape.model_validate(body)
    except ValidationError as fault:
        raise as_invalid_request(fault) from None
    for name, neutral in _UNSERVED.items():
        value = getattr(request, name, None)
        if value is not None and value not in neutral:
            msg = f"'{name}' is not served yet; leave it out."
            raise UnsupportedParameter(msg, param=name)
    return request


def refuse_unserved_roles(body: dict[str, Any]) -> None:
    """Tell a role that OpenAI has from one that nobody has.

    Raises:
        UnsupportedParameter: a message has such a role.
    """
    messages = body.get("messages")
    for index, message in enumerate(
        cast("list[Any]", messages) if isinstance(messages, list) else ()
    ):
        role = cast("dict[str, Any]", message).get("role") if isinstance(message, dict) else None
        if isinstance(role, str) and role in _UNSERVED_ROLES:
            msg = f"messages[{index}]: the role '{role}' is not served yet."
            raise UnsupportedParameter(msg, param=f"messages[{index}].role")
