"""How what `chat` says becomes component updates and little pieces of HTML.

Owns the table of which button works in which phase. Every text that is not ours is escaped
here. Knows no action and no layout.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from html import escape
from typing import Any, cast

import gradio as gr

from services.webui.chat import Notice, Phase, View
from services.webui.model_list import Catalogue
from shared.templates.formats import to_gradio

WELCOME = """<div class="welcome"><h2>What shall we talk about?</h2>
<p>Choose a model above, write below. Nothing leaves this installation.</p></div>"""

VOTE_BUTTONS = ("upvote", "downvote", "flag")
_AGAIN_BUTTONS = ("regenerate", "clear")
_WORKING: dict[Phase, tuple[str, ...]] = {
    Phase.EMPTY: (),
    Phase.STREAMING: (),
    Phase.ANSWERED: (*VOTE_BUTTONS, *_AGAIN_BUTTONS),
    Phase.VOTED: _AGAIN_BUTTONS,
    Phase.FAILED: _AGAIN_BUTTONS,
}

Update = list[Any]


@dataclass(frozen=True, slots=True)
class Surface:
    """The components that an action may change."""

    message: gr.Textbox
    chatbot: gr.Chatbot
    dialogue: gr.State
    notice: gr.HTML
    announcement: gr.HTML
    buttons: dict[str, gr.Button]

    def components(self) -> list[Any]:
        """Return them in the order of an `Update`."""
        head = [self.message, self.chatbot, self.dialogue, self.notice, self.announcement]
        return [*head, *self.buttons.values()]


async def updates(views: AsyncGenerator[View]) -> AsyncGenerator[Update]:
    """Turn views into updates that carry only what changed since the view before."""
    before: View | None = None
    async with aclosing(views):
        async for view in views:
            yield update(view, before)
            before = view


def skip() -> Any:
    """Return what leaves a component as it is."""
    return cast("Any", gr.skip())  # pyright: ignore[reportUnknownMemberType]


def update(view: View, before: View | None = None) -> Update:
    """Return the updates of all of `Surface.components`, in their order."""
    chat: Any = skip() if view.messages is None else gr.update(value=to_gradio(view.messages))
    told = before is not None and before.notice == view.notice
    shown: Any = skip() if told else _notice(view.notice)
    dialogue = view.dialogue
    if dialogue is None or (before is not None and before.dialogue == dialogue):
        return [skip(), chat, skip(), shown, skip(), *(skip() for _ in _ALL_BUTTONS)]
    working = _WORKING[dialogue.phase]
    return [
        _message_box(view),
        chat,
        dialogue,
        shown,
        gr.update(value=_ANNOUNCED.get(dialogue.phase, "")),
        *[gr.update(interactive=name in working) for name in _ALL_BUTTONS],
    ]


def status(catalogue: Catalogue) -> str:
    """Return the header's line on what can be used now."""
    ready = sum(entry.ready for entry in catalogue.entries)
    coming = ", ".join(
        f"{entry.id} {entry.condition}" for entry in catalogue.entries if not entry.ready
    )
    if catalogue.fault:
        return _pill("down", "No connection to the models", catalogue.fault)
    if not catalogue.known:
        return _pill("coming", "Connecting")
    if ready:
        text = f"{ready} model{'s' * (ready != 1)} ready"
        return _pill("ready", text, coming)
    if coming:
        return _pill("coming", coming)
    return _pill("coming", "Waiting for a model")


def choices(catalogue: Catalogue, chosen: str | None) -> list[tuple[str, str]]:
    """Return the picker's entries, (label, id); a chosen model that has gone stays, marked."""
    offered = [(entry.label, entry.id) for entry in catalogue.entries]
    if chosen and catalogue.find(chosen) is None:
        offered.append((f"{chosen} (not served)", chosen))
    return offered


_ALL_BUTTONS = (*VOTE_BUTTONS, *_AGAIN_BUTTONS)
_ANNOUNCED = {
    Phase.STREAMING: "The answer is being written.",
    Phase.ANSWERED: "The answer is complete.",
    Phase.FAILED: "There is no complete answer.",
}


def _message_box(view: View) -> Any:
    streaming = view.dialogue is not None and view.dialogue.phase is Phase.STREAMING
    if view.sent:
        return gr.update(value="", submit_btn=not streaming, stop_btn=streaming)
    return gr.update(submit_btn=not streaming, stop_btn=streaming)


def _notice(notice: Notice | None) -> Any:
    if notice is None:
        return gr.update(value="", visible=False)
    kind, role = ("error", "alert") if notice.is_error else ("info", "status")
    found = (
        f'<span class="request">Request <code>{escape(notice.request_id)}</code> '
        '<button type="button" class="copy">Copy</button></span>'
        if notice.request_id
        else ""
    )
    html = f'<div class="notice {kind}" role="{role}"><p>{escape(notice.text)}</p>{found}</div>'
    return gr.update(value=html, visible=True)


def _pill(kind: str, text: str, detail: str = "") -> str:
    more = f'<span class="detail">{escape(detail)}</span>' if detail else ""
    return (
        f'<div class="pill {kind}" role="status" title="{escape(detail)}">'
        f'<span class="dot"></span><span class="words"><span>{escape(text)}</span>{more}</span></div>'
    )
