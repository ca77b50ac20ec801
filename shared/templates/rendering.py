"""A conversation to a prompt, in one call.

Owns the two calls that take messages as a client sends them. The work is the template's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from shared.errors import InvalidRequest
from shared.templates.catalogue import find_family
from shared.templates.choice import ChatTemplate
from shared.templates.family_prompt import FamilyTemplate
from shared.templates.messages import Message, read_messages
from shared.templates.rendered import Rendered, Span

Conversation = Iterable[Message | Mapping[str, Any]]


def render(
    messages: Conversation,
    template: str | ChatTemplate,
    *,
    add_generation_prompt: bool = True,
    continue_final_message: bool = False,
) -> str:
    """Return the prompt of a conversation.

    Args:
        messages: OpenAI's message objects, or `Message`s; there may be none.
        template: a family's name, or a template.
        add_generation_prompt: end where the assistant's next answer begins.
        continue_final_message: end with the last message, the assistant's, so that the model
            goes on with it; nothing is added to it then.

    Raises:
        ConfigurationError: no family of that name.
        InvalidRequest: a message that the template has no form for; `param` names it.
    """
    return _rendered(messages, template, add_generation_prompt, continue_final_message).text


def spans(
    messages: Conversation,
    template: str | ChatTemplate,
    *,
    add_generation_prompt: bool = True,
    continue_final_message: bool = False,
) -> tuple[Span, ...]:
    """Return which characters of `render`'s prompt come from messages, in order.

    What is outside of them, the template wrote; special tokens count only there.

    Raises:
        as `render`; InvalidRequest also where a Jinja template hides what came from messages.
    """
    rendered = _rendered(messages, template, add_generation_prompt, continue_final_message)
    if rendered.spans is None:
        text = "The chat template does not show which parts of the prompt come from messages."
        raise InvalidRequest(text, param="messages")
    return rendered.spans


def _rendered(
    messages: Conversation,
    template: str | ChatTemplate,
    add_generation_prompt: bool,
    continue_final_message: bool,
) -> Rendered:
    chosen = FamilyTemplate(find_family(template)) if isinstance(template, str) else template
    return chosen.render(
        read_messages(messages),
        add_generation_prompt=add_generation_prompt,
        continue_final_message=continue_final_message,
    )
