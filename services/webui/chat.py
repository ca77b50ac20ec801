"""What the page's buttons do: send, regenerate, stop, clear, vote.

Owns the states of a conversation (`Phase`) and which action is allowed in which. The
conversation itself comes with each action from the browser (`shown`). Each action yields what is to be seen (`View`); drawing it is the page's business, so nothing here knows
Gradio.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import structlog

from services.webui.conversation import (
    from_chatbot,
    to_api,
    up_to_last_question,
    with_question,
)
from services.webui.conversation_log import ConversationLog, Exchange, VoteKind
from services.webui.metrics import WebuiMetrics
from services.webui.model_list import ModelList
from services.webui.sessions import Sessions
from services.webui.turn import Outcome, Turn
from shared.client import APIError, ZooClient
from shared.errors import LLMZooError, ModelNotFound, Unavailable
from shared.http.request_id import loggable
from shared.templates.messages import Message, Messages

log = structlog.get_logger(__name__)


class Phase(StrEnum):
    """Where a conversation stands; the page's buttons follow from it."""

    EMPTY = "empty"
    STREAMING = "streaming"
    ANSWERED = "answered"
    VOTED = "voted"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who acts: Gradio's session id and the network address."""

    session: str
    address: str


@dataclass(frozen=True, slots=True)
class Dialogue:
    """What a page's session remembers of its conversation: everything but its text."""

    conv_id: str = ""
    phase: Phase = Phase.EMPTY
    model: str = ""
    system: str = ""
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Wish:
    """Which model is to answer, and how. `params` are OpenAI's names, unset ones left out."""

    model: str
    system: str = ""
    params: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Notice:
    """A sentence for the user; `request_id` finds the request in the services' logs."""

    text: str
    request_id: str = ""
    is_error: bool = True


@dataclass(frozen=True, slots=True)
class View:
    """What is to be seen; None: as it is. `sent`: the message box is emptied."""

    dialogue: Dialogue | None = None
    messages: Messages | None = None
    notice: Notice | None = None
    sent: bool = False


_RECONNECTING = Notice("The connection was lost. Reconnecting …", is_error=False)


class Chat:
    """The actions of all pages."""

    def __init__(
        self,
        client: ZooClient,
        models: ModelList,
        conversation_log: ConversationLog,
        sessions: Sessions,
        metrics: WebuiMetrics,
    ) -> None:
        """Take what the actions work with."""
        self._client = client
        self._models = models
        self._log = conversation_log
        self._sessions = sessions
        self._metrics = metrics

    async def send(
        self, visitor: Visitor, dialogue: Dialogue, shown: object, text: str, wish: Wish
    ) -> AsyncGenerator[View]:
        """Put `text` at the end of the conversation and stream the answer."""
        wish = self._with_model(wish)
        try:
            asked = with_question(from_chatbot(shown), text)
            turn = self._begin(visitor, asked, wish)
        except LLMZooError as fault:
            yield View(notice=Notice(fault.message))
            return
        async with aclosing(self._answer(visitor, dialogue, asked, wish, turn)) as views:
            async for view in views:
                yield view

    async def regenerate(
        self, visitor: Visitor, dialogue: Dialogue, shown: object, wish: Wish
    ) -> AsyncGenerator[View]:
        """Drop the last answer, if there is one, and stream another."""
        wish = self._with_model(wish)
        try:
            asked = up_to_last_question(from_chatbot(shown))
            turn = self._begin(visitor, asked, wish)
        except LLMZooError as fault:
            yield View(notice=Notice(fault.message))
            return
        async with aclosing(self._answer(visitor, dialogue, asked, wish, turn)) as views:
            async for view in views:
                yield view

    def stop(self, visitor: Visitor) -> None:
        """End the answer in the making; its stream shows what has come of it."""
        self._sessions.stop(visitor.session)

    def clear(self, visitor: Visitor) -> View:
        """Forget the conversation."""
        self._sessions.stop(visitor.session)
        return View(Dialogue(), messages=())

    async def vote(
        self, visitor: Visitor, dialogue: Dialogue, shown: object, kind: VoteKind
    ) -> View:
        """Log a vote on the last answer; each answer takes one."""
        if dialogue.phase is not Phase.ANSWERED or self._sessions.busy(visitor.session):
            return View(notice=Notice("This answer cannot be voted on any more."))
        try:
            messages = from_chatbot(shown)
        except LLMZooError as fault:
            return View(notice=Notice(fault.message))
        self._metrics.votes.labels(kind).inc()
        await self._log.vote(kind, _exchange(visitor, dialogue, messages))
        return View(
            replace(dialogue, phase=Phase.VOTED),
            notice=Notice("Thank you, your vote is noted.", is_error=False),
        )

    def _begin(self, visitor: Visitor, asked: Messages, wish: Wish) -> Turn:
        self._check_model(wish.model)
        body = {"model": wish.model, "messages": to_api(wish.system, asked), **wish.params}
        turn = Turn(self._client, body, self._metrics)
        self._sessions.begin(visitor.session, turn)
        return turn

    def _with_model(self, wish: Wish) -> Wish:
        # A page that has just opened may send before its picker is filled.
        return replace(wish, model=wish.model or self._models.catalogue.preferred() or "")

    def _check_model(self, model: str) -> None:
        catalogue = self._models.catalogue
        if not model:
            msg = catalogue.fault or "No model is there yet. One appears here once a worker has it."
            raise Unavailable(msg)
        entry = catalogue.find(model)
        if entry is None and catalogue.known and not catalogue.fault:
            msg = f"{model} is not served any more. Choose another model above."
            raise ModelNotFound(msg, param="model")
        if entry is not None and not entry.ready:
            msg = f"{model} is not ready yet: {entry.condition}. Try again in a moment."
            raise Unavailable(msg)

    async def _answer(
        self, visitor: Visitor, before: Dialogue, asked: Messages, wish: Wish, turn: Turn
    ) -> AsyncGenerator[View]:
        dialogue = Dialogue(before.conv_id or uuid.uuid4().hex, Phase.STREAMING, wish.model)
        dialogue = replace(dialogue, system=wish.system)
        try:
            yield View(dialogue, messages=(*asked, Message("assistant", "")), sent=True)
            async with aclosing(turn.texts()) as texts:
                async for text in texts:
                    notice = _RECONNECTING if turn.reconnecting else None
                    yield View(dialogue, (*asked, Message("assistant", text)), notice)
        finally:
            self._sessions.end(visitor.session, turn)
            outcome = turn.outcome
            answered = _with_answer(asked, outcome.text)
            dialogue = replace(dialogue, phase=_phase_after(outcome), request_id=outcome.request_id)
            await self._note(visitor, dialogue, answered, wish, outcome)
        yield View(dialogue, messages=answered, notice=_notice(outcome))

    async def _note(
        self,
        visitor: Visitor,
        dialogue: Dialogue,
        answered: Messages,
        wish: Wish,
        outcome: Outcome,
    ) -> None:
        log.info(
            "answered",
            model=wish.model,
            finish_reason=outcome.finish,
            request_id=outcome.request_id,
            fault=outcome.fault and _cause(outcome.fault),
            duration_ms=round((outcome.end - outcome.start).total_seconds() * 1000),
        )
        await self._log.chat(
            _exchange(visitor, dialogue, answered),
            gen_params=wish.params,
            finish_reason=outcome.finish,
            start=outcome.start,
            finish=outcome.end,
        )


def _cause(fault: LLMZooError) -> str:
    """Return what the log tells of a fault: of a server's, not its words, which may quote."""
    return loggable(str(fault.code or fault.type)) if isinstance(fault, APIError) else fault.message


def _with_answer(asked: Messages, text: str) -> Messages:
    return (*asked, Message("assistant", text)) if text else asked


def _phase_after(outcome: Outcome) -> Phase:
    if outcome.fault is not None or not outcome.text:
        return Phase.FAILED
    return Phase.ANSWERED


def _notice(outcome: Outcome) -> Notice | None:
    if outcome.fault is not None:
        return Notice(outcome.fault.message, outcome.request_id)
    if outcome.finish == "length":
        text = "The answer was cut off at the largest number of tokens. Raise it in the sidebar."
        return Notice(text, is_error=False)
    if outcome.finish == "stop" and not outcome.text:
        return Notice("The model had nothing to say. Regenerate, or ask differently.")
    return None


def _exchange(visitor: Visitor, dialogue: Dialogue, messages: Messages) -> Exchange:
    return Exchange(
        dialogue.conv_id,
        dialogue.model,
        dialogue.system,
        messages,
        visitor.address,
        dialogue.request_id,
    )
