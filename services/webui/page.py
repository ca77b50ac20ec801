"""The chat page: its components and which action each of them starts.

Owns layout, labels and wiring. What the actions do is `chat`'s business, how their results
become component updates is `drawing`'s, looks are in `theme` and `assets/`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

from services.webui import drawing
from services.webui.actions import ChatActions, PageActions
from services.webui.chat import Dialogue
from services.webui.conversation import MAX_MESSAGE_CHARACTERS
from services.webui.model_list import REFRESH_SECONDS, Catalogue

EXAMPLES = (
    "Explain why the sky is blue to a curious ten-year-old.",
    "Write a short poem about a lighthouse in winter.",
    "Give me three ideas for a quick dinner with chickpeas.",
    "What is the difference between a process and a thread?",
)
LATEX_DELIMITERS: list[dict[str, str | bool]] = [
    {"left": "$$", "right": "$$", "display": True},
    {"left": "\\[", "right": "\\]", "display": True},
    {"left": "\\(", "right": "\\)", "display": False},
    {"left": "$", "right": "$", "display": False},
]
_MAX_TOKENS = 8192
# How often the queue looks for clicks, and for progress, which nothing here reports.
_CLICK_SECONDS = 0.05
_PROGRESS_SECONDS = 1.0
_QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
# Waiting for places is the controller's business; Gradio's default is one event at a time.
_STREAMING: dict[str, Any] = {**_QUIET, "concurrency_limit": None}
_AT_ONCE: dict[str, Any] = {**_QUIET, "queue": False}


@dataclass(frozen=True, slots=True)
class Settings:
    """The sidebar's components."""

    system: gr.Textbox
    temperature: gr.Slider
    top_p: gr.Slider
    max_tokens: gr.Slider
    seed: gr.Textbox

    def components(self) -> list[Component]:
        """Return them in the order in which `read_wish` takes their values."""
        return [self.system, self.temperature, self.top_p, self.max_tokens, self.seed]


def build(chat: ChatActions, following: PageActions) -> gr.Blocks:
    """Return the page."""
    with gr.Blocks(
        title="LLM Zoo",
        analytics_enabled=False,
        fill_height=True,
        fill_width=True,
        delete_cache=(3600, 86400),
    ) as page:
        settings = _sidebar()
        with gr.Row(elem_id="header"):
            gr.HTML("<h1>LLM Zoo</h1>", elem_id="brand")
            model = gr.Dropdown(
                label="Model",
                show_label=False,
                container=False,
                choices=[],
                allow_custom_value=True,  # the list changes under way; `chat` checks the name
                elem_id="model",
            )
            status = gr.HTML(drawing.status(Catalogue()), elem_id="status")
        surface = _conversation()
        _wire(chat, settings, model, surface)
        _follow(page, following, model, status)
    page.queue(max_size=500, api_open=False)
    # Gradio looks a thousand times a second, and each look stops a worker that computes beside it.
    queue = page._queue  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    queue.sleep_when_free = _CLICK_SECONDS
    queue.progress_update_sleep_when_free = _PROGRESS_SECONDS
    return page


def _sidebar() -> Settings:
    with gr.Sidebar(label="Settings", open=False, elem_id="settings"):
        gr.Markdown("## Settings")
        return Settings(
            system=gr.Textbox(
                label="System prompt",
                info="How the model should behave. Sent before every conversation.",
                lines=4,
                max_lines=12,
                max_length=MAX_MESSAGE_CHARACTERS,
                elem_id="system",
            ),
            temperature=gr.Slider(
                0, 2, 0.7, step=0.05, label="Temperature", info="0: always the likeliest."
            ),
            top_p=gr.Slider(0, 1, 1, step=0.05, label="Top p", info="Share of the likeliest."),
            max_tokens=gr.Slider(
                1, _MAX_TOKENS, 512, step=1, label="Max tokens", info="Longest answer."
            ),
            seed=gr.Textbox(
                label="Seed (optional)",
                info="A whole number. The same seed draws the same answer.",
                placeholder="random",
                max_length=20,
                elem_id="seed",
            ),
        )


def _conversation() -> drawing.Surface:
    chatbot = gr.Chatbot(
        label="Conversation",
        show_label=False,
        container=False,
        elem_id="conversation",
        height=None,
        scale=1,
        layout="bubble",
        buttons=["copy"],
        latex_delimiters=LATEX_DELIMITERS,
        editable="user",
        feedback_options=None,
        placeholder=drawing.WELCOME,
        examples=[{"text": text} for text in EXAMPLES],
        allow_tags=True,
        line_breaks=True,
    )
    with gr.Column(elem_id="composer"):
        notice = gr.HTML(visible=False, elem_id="notice")
        with gr.Row(elem_id="actions"):
            buttons = {
                name: gr.Button(label, size="sm", interactive=False, elem_id=name)
                for name, label in (
                    ("upvote", "Good answer"),
                    ("downvote", "Bad answer"),
                    ("flag", "Flag"),
                    ("regenerate", "Regenerate"),
                    ("clear", "Clear"),
                )
            }
        message = gr.Textbox(
            label="Message",
            show_label=False,
            container=False,
            placeholder="Ask anything",
            lines=1,
            max_lines=10,
            autofocus=True,
            submit_btn=True,
            max_length=MAX_MESSAGE_CHARACTERS,
            elem_id="message",
        )
        gr.HTML("Models make mistakes. Check what matters.", elem_id="footnote")
        announcement = gr.HTML(elem_id="announcement")
    return drawing.Surface(message, chatbot, gr.State(Dialogue()), notice, announcement, buttons)


def _wire(
    actions: ChatActions, settings: Settings, model: gr.Dropdown, surface: drawing.Surface
) -> None:
    outputs = surface.components()
    held = [surface.dialogue, surface.chatbot]
    wish = [model, *settings.components()]
    message, chatbot, buttons = surface.message, surface.chatbot, surface.buttons
    message.submit(actions.send, [message, *held, *wish], outputs, **_STREAMING)
    chatbot.example_select(actions.send_example, [*held, *wish], outputs, **_STREAMING)
    chatbot.edit(actions.edit, [*held, *wish], outputs, **_STREAMING)
    buttons["regenerate"].click(actions.regenerate, [*held, *wish], outputs, **_STREAMING)
    message.stop(actions.stop, **_AT_ONCE)
    buttons["clear"].click(actions.clear, None, outputs, **_AT_ONCE)
    for name, vote in (
        ("upvote", actions.upvote),
        ("downvote", actions.downvote),
        ("flag", actions.flag),
    ):
        buttons[name].click(vote, held, outputs, **_AT_ONCE)


def _follow(page: gr.Blocks, actions: PageActions, model: gr.Dropdown, status: gr.HTML) -> None:
    shown = gr.State(None)
    outputs = [model, status, shown]
    page.load(actions.arrive, None, outputs, **_AT_ONCE)
    page.unload(actions.leave)
    gr.Timer(REFRESH_SECONDS).tick(actions.follow, [model, shown], outputs, **_AT_ONCE)
