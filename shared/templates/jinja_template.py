"""A model's own chat template, written in Jinja, in a sandbox.

Owns the environment that such templates are written for (transformers' names and white space
rules) and finding out which parts of a prompt came from messages: it is rendered a second time
with marks around every text. A template that looks into its messages may lose marks; then the
parts are unknown and the prompt says so.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn, cast

from jinja2 import TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import CallBlock, Node
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from shared.errors import ConfigurationError, InvalidRequest
from shared.templates.family_prompt import check_ending
from shared.templates.messages import Message, Messages, Role, to_openai
from shared.templates.rendered import PromptBuilder, Rendered

# Unicode's noncharacters: no text has to contain them, so some are free to mark a place.
_NONCHARACTERS = [chr(code) for code in range(0xFDD0, 0xFDF0)]
# What Jinja raises, and what Python raises within a template's expressions.
_TEMPLATE_FAULTS = (
    TemplateError,
    TypeError,
    ValueError,
    LookupError,
    ArithmeticError,
    AttributeError,
    RecursionError,
)


class JinjaTemplate:
    """A chat template in Jinja."""

    def __init__(
        self, source: str, special_tokens: Mapping[str, str] | None = None, name: str = "tokenizer"
    ) -> None:
        """Compile it.

        Args:
            source: the template.
            special_tokens: what it may call by name: `bos_token`, `eos_token` and others.
            name: what messages call it.

        Raises:
            ConfigurationError: it is no Jinja.
        """
        self.name = name
        self.stop: tuple[str, ...] = ()
        self.writes_bos = True
        self.identity = source
        self._special_tokens = dict(special_tokens or {})
        try:
            self._template = _environment().from_string(source)
        except TemplateError as fault:
            raise ConfigurationError(f"The chat template {name!r} is no Jinja: {fault}") from fault

    def render(
        self,
        messages: Messages,
        *,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
    ) -> Rendered:
        """Return the prompt of a conversation; arguments and errors as a family's `render`.

        Raises:
            InvalidRequest: besides, the template refuses the messages.
        """
        check_ending(messages, continue_final_message=continue_final_message)
        options = {"add_generation_prompt": add_generation_prompt and not continue_final_message}
        marks = _Marks(message.text for message in messages)
        plain = self._text(to_openai(messages), options)
        marked = self._text(
            [{"role": message.role, "content": marks.around(message.text)} for message in messages],
            options,
        )
        rendered = marks.read(marked, messages, plain)
        return _cut(rendered, messages[-1]) if continue_final_message else rendered

    def _text(self, messages: list[dict[str, str]], options: Mapping[str, bool]) -> str:
        try:
            return self._template.render(
                messages=messages, tools=None, documents=None, **options, **self._special_tokens
            )
        except _TEMPLATE_FAULTS as fault:
            text = f"The model's chat template refuses these messages: {fault}"
            raise InvalidRequest(text, param="messages") from None


class _Marks:
    """Two characters that occur in no text, one before and one after what a message says."""

    def __init__(self, texts: Iterable[str]) -> None:
        used = set("".join(texts))
        free = [character for character in _NONCHARACTERS if character not in used]
        if len(free) < 2:  # noqa: PLR2004 - an opening and a closing one
            text = "The messages hold every noncharacter from U+FDD0 to U+FDEF."
            raise InvalidRequest(text, param="messages")
        self._open, self._close = free[:2]

    def around(self, text: str) -> str:
        """Return the text marked within its white space, which templates strip."""
        core = text.strip()
        if not core:
            return text
        start = text.index(core)
        end = start + len(core)
        return f"{text[:start]}{self._open}{core}{self._close}{text[end:]}"

    def read(self, marked: str, messages: Messages, plain: str) -> Rendered:
        """Return the prompt; its spans are None if the marks have changed it or were lost."""
        hidden = Rendered(plain, None, tuple(message.text for message in messages))
        if marked.replace(self._open, "").replace(self._close, "") != plain:
            return hidden
        roles: dict[str, Role] = {message.text.strip(): message.role for message in messages}
        prompt = PromptBuilder()
        for piece in re.split(f"({self._open}[^{self._open}{self._close}]*{self._close})", marked):
            if piece.startswith(self._open) and piece.endswith(self._close):
                text = piece[1:-1]
                prompt.quote(text, roles.get(text, "user"))
            elif self._open in piece or self._close in piece:
                return hidden
            else:
                prompt.write(piece)
        return prompt.done()


def _cut(rendered: Rendered, last: Message) -> Rendered:
    """Return the prompt up to the end of its last message.

    Raises:
        InvalidRequest: the template does not show that message as it is.
    """
    text = last.text.strip()
    place = rendered.text.rfind(text)
    if place < 0:
        message = "The model's chat template changes the message that was to be continued."
        raise InvalidRequest(message, param="continue_final_message")
    end = place + len(text)
    spans = rendered.spans
    if spans is not None:
        spans = tuple(span for span in spans if span.end <= end)
    return Rendered(rendered.text[:end], spans, rendered.unplaced)


class _Generation(Extension):
    """`{% generation %}`, with which some templates tell the trainer what to learn."""

    tags = {"generation"}  # noqa: RUF012 - Jinja's own form

    def parse(self, parser: Parser) -> Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return CallBlock(self.call_method("_as_it_is"), [], [], body).set_lineno(line)

    @staticmethod
    def _as_it_is(caller: Callable[[], str]) -> str:
        return caller()


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    names: dict[str, Any] = cast("dict[str, Any]", environment.globals)
    names.update(raise_exception=_refuse, strftime_now=_strftime_now)
    return environment


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # Jinja's own escapes what HTML knows, which no model was trained on.
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)


def _strftime_now(form: str) -> str:
    return dt.datetime.now().astimezone().strftime(form)
