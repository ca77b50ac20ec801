"""Gradio's events, translated into actions of `chat` and back.

Owns the order of each event's inputs. Nothing is decided here.
"""

# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# Gradio's requests are typed in part only.

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, cast

import gradio as gr

from services.webui import drawing
from services.webui.chat import Chat, Dialogue, Visitor, Wish
from services.webui.conversation_log import VoteKind
from services.webui.model_list import Catalogue, ModelList
from services.webui.sessions import Sessions

Updates = AsyncGenerator[drawing.Update]


class ChatActions:
    """The chat's events. Gradio passes the request first, as its annotation asks."""

    def __init__(self, chat: Chat) -> None:
        """Act through `chat`."""
        self._chat = chat

    async def send(
        self, request: gr.Request, text: str, dialogue: Dialogue, shown: object, *wish: Any
    ) -> Updates:
        """Send what is in the message box."""
        views = self._chat.send(_visitor(request), dialogue, shown, text, read_wish(*wish))
        async for update in drawing.updates(views):
            yield update

    async def send_example(
        self,
        request: gr.Request,
        example: gr.SelectData,
        dialogue: Dialogue,
        shown: object,
        *wish: Any,
    ) -> Updates:
        """Send the example that was clicked."""
        text = str(example.value["text"])
        async for update in self.send(request, text, dialogue, shown, *wish):
            yield update

    async def edit(
        self, request: gr.Request, edit: gr.EditData, dialogue: Dialogue, shown: object, *wish: Any
    ) -> Updates:
        """Ask again with another wording of an earlier message; what followed it is dropped."""
        index = edit.index if isinstance(edit.index, int) else edit.index[0]
        earlier = cast("list[object]", shown)[:index] if isinstance(shown, list) else []
        async for update in self.send(request, str(edit.value), dialogue, earlier, *wish):
            yield update

    async def regenerate(
        self, request: gr.Request, dialogue: Dialogue, shown: object, *wish: Any
    ) -> Updates:
        """Answer the last message anew."""
        views = self._chat.regenerate(_visitor(request), dialogue, shown, read_wish(*wish))
        async for update in drawing.updates(views):
            yield update

    async def stop(self, request: gr.Request) -> None:
        """End the answer in the making."""
        self._chat.stop(_visitor(request))

    async def clear(self, request: gr.Request) -> drawing.Update:
        """Forget the conversation."""
        return drawing.update(self._chat.clear(_visitor(request)))

    async def upvote(
        self, request: gr.Request, dialogue: Dialogue, shown: object
    ) -> drawing.Update:
        """Call the last answer good."""
        return await self._vote("upvote", request, dialogue, shown)

    async def downvote(
        self, request: gr.Request, dialogue: Dialogue, shown: object
    ) -> drawing.Update:
        """Call the last answer bad."""
        return await self._vote("downvote", request, dialogue, shown)

    async def flag(self, request: gr.Request, dialogue: Dialogue, shown: object) -> drawing.Update:
        """Call the last answer harmful."""
        return await self._vote("flag", request, dialogue, shown)

    async def _vote(
        self, kind: VoteKind, request: gr.Request, dialogue: Dialogue, shown: object
    ) -> drawing.Update:
        return drawing.update(await self._chat.vote(_visitor(request), dialogue, shown, kind))


class PageActions:
    """A page's coming and going, and its picture of the models."""

    def __init__(self, models: ModelList, sessions: Sessions) -> None:
        """Show `models`, count in `sessions`."""
        self._models = models
        self._sessions = sessions

    async def arrive(self, request: gr.Request) -> list[Any]:
        """Count the page and show the models, the one that `?model=` names chosen."""
        self._sessions.arrive(request.session_hash or "")
        wanted = str(request.query_params.get("model", ""))
        return self._picture(self._models.catalogue.preferred(wanted))

    async def follow(self, chosen: str | None, shown: Catalogue | None) -> list[Any]:
        """Show what changed since the catalogue that the page shows."""
        catalogue = self._models.catalogue
        if catalogue == shown:
            return [drawing.skip(), drawing.skip(), drawing.skip()]
        return self._picture(chosen or catalogue.preferred())

    async def leave(self, request: gr.Request) -> None:
        """Take the page out of the count and end its answer."""
        self._sessions.leave(request.session_hash or "")

    def _picture(self, chosen: str | None) -> list[Any]:
        catalogue = self._models.catalogue
        picker = gr.update(choices=drawing.choices(catalogue, chosen), value=chosen)
        return [picker, drawing.status(catalogue), catalogue]


def read_wish(model: object, system: object, *sampling: object) -> Wish:
    """Read the picker's and the sidebar's values, in the order of the page's components."""
    temperature, top_p, max_tokens, seed = sampling
    params = {
        "temperature": temperature,
        "top_p": top_p,
        "max_tokens": max_tokens,
        "seed": _read_seed(str(seed or "").strip()),
    }
    given = {name: value for name, value in params.items() if value is not None}
    return Wish(str(model or ""), str(system or ""), given)


def _read_seed(typed: str) -> int | str | None:
    # What is no number goes on as it is: the API says what is wrong with it.
    if typed.removeprefix("-").isdecimal():
        return int(typed)
    return typed or None


def _visitor(request: gr.Request) -> Visitor:
    host: object = getattr(request.client, "host", "")
    return Visitor(request.session_hash or "", str(host))
