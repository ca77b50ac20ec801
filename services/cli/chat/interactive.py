"""The loop of an interactive chat: read a line, do it, show what came.

Ctrl-C stops what is going on; at the prompt, twice in a row, it leaves.
"""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import aclosing
from typing import TYPE_CHECKING

from services.cli.chat.commands import CommandRefused, parse_line
from services.cli.chat.interrupts import Interrupted, Interruptible
from services.cli.chat.stats import AnswerStats
from services.cli.failures import one_line
from shared.errors import LLMZooError

if TYPE_CHECKING:
    from services.cli.chat.rendering import Display
    from services.cli.chat.session import ChatSession
    from services.cli.chat.terminal import Terminal

_HOW_TO_LEAVE = "Ctrl-C again or Ctrl-D leaves."


async def converse(session: ChatSession, terminal: Terminal, display: Display) -> None:
    """Chat until the person leaves."""
    warned = False
    with Interruptible() as interruptible:
        while True:
            try:
                line = await interruptible.run(terminal.read())
            except EOFError:
                return
            except Interrupted:
                if warned:
                    return
                warned = True
                display.notice(_HOW_TO_LEAVE)
                continue
            warned = False
            if not line.strip():
                continue
            with contextlib.suppress(Interrupted):
                if await interruptible.run(_do(line, session, display)):
                    return


async def _do(line: str, session: ChatSession, display: Display) -> bool:
    """Do one line; return whether to leave."""
    try:
        outcome = await session.run(parse_line(line))
    except CommandRefused as fault:
        display.fault(str(fault))
        return False
    except LLMZooError as fault:
        display.fault(one_line(fault))
        return False
    if outcome.notice:
        display.notice(outcome.notice)
    if outcome.ask:
        await answer(session, display)
    return outcome.leave


async def answer(session: ChatSession, display: Display) -> None:
    """Ask the last question and show the answer as it comes.

    Cancelled, it closes the request and keeps what came as the answer. On a failure the
    question stays unanswered.
    """
    text, request_id = "", ""
    stats = AnswerStats()
    try:
        with display.answer() as view:
            async with aclosing(session.source.stream(session.body())) as deltas:
                async for delta in deltas:
                    if delta.reconnecting:
                        view.reconnecting()
                        continue
                    stats.note(delta)
                    text += delta.text
                    request_id = delta.request_id or request_id
                    view.add(delta.text)
    except LLMZooError as fault:
        session.conversation.fail()
        display.fault(f"{one_line(fault, request_id)} /retry asks again.")
        return
    except asyncio.CancelledError:
        _keep(session, text)
        display.notice("Stopped.")
        raise
    _keep(session, text)
    if session.show_stats and (figures := stats.line()):
        display.figures(figures)
    if not text:
        display.notice("The answer is empty.")


def _keep(session: ChatSession, text: str) -> None:
    if text:
        session.conversation.answer(text)
    else:
        session.conversation.fail()
