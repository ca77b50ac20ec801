"""Chat templates: what a model's prompt looks like, and which parts of it messages wrote."""

from shared.templates.choice import ChatTemplate, Choice, ModelFacts, choose_template
from shared.templates.messages import Message
from shared.templates.rendered import Rendered, Span
from shared.templates.rendering import render, spans

__all__ = [
    "ChatTemplate",
    "Choice",
    "Message",
    "ModelFacts",
    "Rendered",
    "Span",
    "choose_template",
    "render",
    "spans",
]
