"""Starting a chat from its options: source, model and display meet here.

Owns the checks before the first request. What then happens is in `interactive` and `one_shot`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

from services.cli.chat import one_shot
from services.cli.chat.conversation import Conversation
from services.cli.chat.rendering import Display, PlainDisplay
from services.cli.chat.source import ServerSource, Source
from services.cli.chat.text import from_terminal
from services.cli.client import client_settings
from shared.client import ZooClient
from shared.errors import ConfigurationError, LLMZooError, NotFound
from shared.settings import ClientSettings

_HISTORY = "chat_history"
_WELCOME = "Chatting with {model}. /help shows the commands, Ctrl-D leaves."


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """The command line of `llmzoo chat`; `question` None is an interactive chat."""

    question: str | None
    model: str
    local: str
    system: str
    parameters: Mapping[str, object]
    base_url: str | None
    api_key: str | None
    plain: bool
    as_json: bool
    stream: bool


def run(options: ChatOptions) -> None:
    """Chat as the options say.

    Raises:
        LLMZooError: wrong options, no server, no model, no answer.
    """
    _check(options)
    settings = client_settings(options.base_url, options.api_key)
    try:
        asyncio.run(_chat(options, settings))
    except LLMZooError as fault:
        if options.as_json:
            print(one_shot.as_json(one_shot.error_object(fault)))
        raise


def _check(options: ChatOptions) -> None:
    if options.parameters:
        _check_parameters(options.parameters)
    if options.local and (options.model or options.base_url):
        msg = "--local asks no server: leave out --model and --base-url"
        raise ConfigurationError(msg)
    if options.as_json and options.question is None:
        msg = "--json needs a question"
        raise ConfigurationError(msg)


def _check_parameters(parameters: Mapping[str, object]) -> None:
    from services.cli.chat.parameters import (  # noqa: PLC0415 - builds models of the whole API
        ParameterRefused,
        check_parameter,
    )

    for name, value in parameters.items():
        try:
            check_parameter(name, value)
        except ParameterRefused as fault:
            raise ConfigurationError(f"--{name.replace('_', '-')}: {fault}") from None


async def _chat(options: ChatOptions, settings: ClientSettings) -> None:
    async with _source(options, settings) as source:
        model = from_terminal(options.model) or await _only_model(source)
        conversation = Conversation(from_terminal(options.system))
        if options.question is None:
            await _interactive(source, model, conversation, options, settings)
            return
        conversation.ask(from_terminal(options.question))
        body = {"model": model, "messages": conversation.as_openai(), **options.parameters}
        if options.as_json:
            print(one_shot.as_json(await one_shot.answer_object(source, body)))
        else:
            await one_shot.show_answer(source, body, _display(options), stream=options.stream)


def _source(options: ChatOptions, settings: ClientSettings) -> AbstractAsyncContextManager[Source]:
    if options.local:
        from services.cli.local_chat import local_source  # noqa: PLC0415 - brings torch

        return local_source(options.local)
    return _server_source(settings)


@asynccontextmanager
async def _server_source(settings: ClientSettings) -> AsyncGenerator[Source]:
    async with ZooClient(settings.base_url, settings.api_key.get_secret_value()) as client:
        yield ServerSource(client)


async def _only_model(source: Source) -> str:
    models = await source.models()
    if len(models) == 1:
        return models[0]
    if not models:
        msg = "No model is ready yet. `llmzoo workers` shows what they are doing."
        raise NotFound(msg)
    msg = f"Several models are served; choose one by --model: {', '.join(models)}"
    raise ConfigurationError(msg, param="--model")


async def _interactive(
    source: Source,
    model: str,
    conversation: Conversation,
    options: ChatOptions,
    settings: ClientSettings,
) -> None:
    # One question needs none of these, and should not wait for their import.
    from services.cli.chat.interactive import converse  # noqa: PLC0415
    from services.cli.chat.session import ChatSession  # noqa: PLC0415
    from services.cli.chat.terminal import PromptTerminal  # noqa: PLC0415

    display = _display(options)
    display.notice(_WELCOME.format(model=model))
    terminal = PromptTerminal(settings.state_dir / _HISTORY, source.models)
    session = ChatSession(source, model, conversation, dict(options.parameters))
    await converse(session, terminal, display)


def _display(options: ChatOptions) -> Display:
    if options.plain:
        return PlainDisplay(sys.stdout, sys.stderr)
    from rich.console import Console  # noqa: PLC0415

    from services.cli.chat.rich_rendering import RichDisplay  # noqa: PLC0415

    return RichDisplay(Console())
