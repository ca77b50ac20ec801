"""The parameters of an answer that a person can set, and how their text is read.

Owns names and syntax. Ranges are those of `shared.protocol.openai`, which the server uses too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import orjson

from shared.errors import InvalidRequest
from shared.protocol.openai import ChatCompletionRequest, parse_chat


class ParameterRefused(ValueError):
    """A value that does not fit; the text says what does."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter: how its text is read, and what it may be."""

    name: str
    read: Callable[[str], object]
    possible: str


def _read_stop(text: str) -> object:
    if text.startswith(("[", '"')):
        value: object = orjson.loads(text)
        return value
    return text


PARAMETERS: Mapping[str, Parameter] = {
    parameter.name: parameter
    for parameter in (
        Parameter("temperature", float, "a number from 0 (always the likeliest token) to 2"),
        Parameter("top_p", float, "a number from 0 to 1"),
        Parameter("max_tokens", int, "a whole number from 1 on"),
        Parameter("seed", int, "a whole number; the same seed gives the same answer"),
        Parameter("stop", _read_stop, 'a text that ends the answer, or up to 4 as ["one", "two"]'),
    )
}


def parameter_value(name: str, text: str) -> object:
    """Return the value that `text` means for the parameter `name`.

    Raises:
        ParameterRefused: there is no such parameter, or the value does not fit.
    """
    parameter = PARAMETERS.get(name)
    if parameter is None:
        msg = f"There is no setting {name!r}. There are: {', '.join(PARAMETERS)}."
        raise ParameterRefused(msg)
    try:
        value = parameter.read(text)
    except ValueError:
        msg = f"{name} cannot be {text!r}: it is {parameter.possible}."
        raise ParameterRefused(msg) from None
    check_parameter(name, value)
    return value


def check_parameter(name: str, value: object) -> None:
    """Check a value against the API's ranges.

    Raises:
        ParameterRefused: the value does not fit.
    """
    body = {"model": "any", "messages": [{"role": "user", "content": "any"}], name: value}
    try:
        parse_chat(cast("dict[str, Any]", body))
    except InvalidRequest:
        msg = f"{name} cannot be {value!r}: it is {PARAMETERS[name].possible}."
        raise ParameterRefused(msg) from None


def chosen(request: ChatCompletionRequest) -> dict[str, object]:
    """Return the parameters that a request sets."""
    values = {name: getattr(request, name) for name in PARAMETERS}
    if request.max_completion_tokens is not None:
        values["max_tokens"] = request.max_completion_tokens
    return {name: value for name, value in values.items() if value is not None}
