"""Streams whose connection is lost, seen from our clients: they go on, with nothing lost or twice.

The controller is a fake that breaks off where it is told. What a real one does when it dies is
tested with the controller.
"""

from __future__ import annotations

import asyncio
import re
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from services.webui.metrics import WebuiMetrics
from services.webui.turn import Turn
from shared.client import APIError, Delta, ZooClient
from shared.errors import LLMZooError, UpstreamFailed, UpstreamTimeout
from shared.lasting_stream import MOST_LOSSES
from shared.protocol.sse import DONE, event
from tests.fakes.command_line import LLMZOO, clean_environment
from tests.fakes.cutting_controller import (
    NOT_FOUND,
    Anew,
    Cut,
    CuttingController,
    Hang,
    Refused,
    Reply,
    says,
    transcript,
)
from tests.fakes.terminal_process import TerminalProcess
from tests.fakes.waiting import eventually

TEXTS = ("Grüße", " aus 東京", " 🦁", "? Ende")
FRAMES = transcript(*TEXTS)
LENGTHS = [len(frame) for frame in FRAMES]
WHOLE = sum(LENGTHS)
AFTER_TWO = Cut(LENGTHS[0] + LENGTHS[1])
"""The connection is lost when two frames have come."""

UNDISTURBED = [
    *(Delta(t, request_id="r1") for t in ("", "Grüße", " ", "aus 東京", " 🦁", "?", " Ende")),
    Delta(finish_reason="stop", request_id="r1"),
    Delta(usage={"completion_tokens": 4}, request_id="r1"),
]


def body(question: str) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": question}]}


def a_client(controller: CuttingController, **options: Any) -> ZooClient:
    return ZooClient(controller.url, "sk-1", **options)


async def ask(client: ZooClient, question: str = "") -> list[Delta]:
    """Return what came; whether a busy machine needed a second to reconnect is not told."""
    async with aclosing(client.stream_chat(body(question))) as deltas:
        return [delta async for delta in deltas if not delta.reconnecting]


async def ask_until_failure(
    client: ZooClient, question: str = ""
) -> tuple[list[Delta], LLMZooError]:
    """Return what came before the failure, and that."""
    got: list[Delta] = []
    try:
        async with aclosing(client.stream_chat(body(question))) as deltas:
            async for delta in deltas:
                got.append(delta)  # noqa: PERF401 - an unfinished list would be lost
    except LLMZooError as fault:
        return got, fault
    pytest.fail("the answer came to its end")


def text_of(deltas: list[Delta]) -> str:
    return "".join(delta.text for delta in deltas)


async def test_a_cut_at_any_byte_costs_nothing_once_an_id_has_come():
    plans = {
        f"{at}": [Cut(at, how)]
        for at, how in zip(range(WHOLE), ("close", "reset", "end") * WHOLE, strict=False)
    }
    async with CuttingController(FRAMES, plans) as controller, a_client(controller) as client:
        for start in range(0, WHOLE, 100):
            questions = [str(at) for at in range(start, min(start + 100, WHOLE))]
            asked = (ask(client, question) for question in questions)
            answers = await asyncio.gather(*asked, return_exceptions=True)
            for question, answer in zip(questions, answers, strict=True):
                connections = len(controller.asked[question])
                if isinstance(answer, list):
                    assert (answer, connections) == (UNDISTURBED, 2)
                else:
                    assert isinstance(answer, UpstreamFailed)
                    assert connections == 1
                    # A reset may overtake what was sent before it.
                    assert int(question) < LENGTHS[0] or plans[question][0].how == "reset"


async def test_an_undisturbed_stream_is_one_connection():
    async with CuttingController(FRAMES) as controller, a_client(controller) as client:
        assert await ask(client) == UNDISTURBED
    assert len(controller.asked[""]) == 1


CUTS = st.lists(
    st.builds(Cut, st.integers(0, WHOLE), st.sampled_from(["close", "end"])), max_size=4
)


@settings(max_examples=5, deadline=None)
@given(plans=st.lists(CUTS, min_size=30, max_size=30))
def test_any_sequence_of_cuts_costs_nothing(plans: list[list[Cut]]):
    # The first id has come before the first cut; what later connections bring is any part.
    later: dict[str, Sequence[Reply]] = {str(n): [AFTER_TWO, *cuts] for n, cuts in enumerate(plans)}

    async def all_of_them() -> list[list[Delta]]:
        async with CuttingController(FRAMES, later) as controller, a_client(controller) as client:
            return await asyncio.gather(*(ask(client, question) for question in later))

    assert asyncio.run(all_of_them()) == [UNDISTURBED] * len(plans)


async def test_a_comeback_sends_the_same_request_and_the_last_id():
    controller = CuttingController(FRAMES, {"": [AFTER_TWO, Cut(LENGTHS[2])]})
    asked = body("")
    async with controller, a_client(controller) as client:
        async for _ in client.stream_chat(asked):
            asked["temperature"] = 1.0  # a conversation may go on meanwhile
    first, second, third = controller.asked[""]
    assert first.body == second.body == third.body
    assert first.json["stream"] is True
    assert {each.headers["authorization"] for each in (first, second, third)} == {"bearer sk-1"}
    ids = [each.headers.get("last-event-id") for each in (first, second, third)]
    assert ids == [None, "worker%2e1.chatcmpl-7.2", "worker%2e1.chatcmpl-7.3"]


@pytest.mark.parametrize("status", [0, 429, 500, 502, 503, 504])
async def test_a_controller_that_is_not_ready_yet_is_asked_again(status):
    plan = [AFTER_TWO, Refused(status), Refused(status)]
    async with CuttingController(FRAMES, {"": plan}) as controller, a_client(controller) as client:
        assert text_of(await ask(client)) == "".join(TEXTS)
    assert len(controller.asked[""]) == 4


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (Refused(404, NOT_FOUND), "Nobody has this answer."),
        (Refused(401), "Not now."),
        (Refused(422, b"<html>"), "The server answered 422."),
        (Anew(), "began another answer"),
    ],
)
async def test_an_answer_that_nobody_has_fails_as_one_that_broke_off(reply, why):
    plan = [AFTER_TWO, reply]
    async with CuttingController(FRAMES, {"": plan}) as controller, a_client(controller) as client:
        got, failure = await ask_until_failure(client)
    assert text_of(got) == "".join(TEXTS[:2])
    assert isinstance(failure, UpstreamFailed)
    assert "broke off" in failure.message
    assert why in failure.message
    assert len(controller.asked[""]) == 2


async def test_what_came_behind_the_last_id_is_shown_when_there_is_no_more():
    # The frame's first event is whole, the one with the id is not.
    held = FRAMES[1].index(b"id: ")
    plan = [Cut(LENGTHS[0] + held), Refused(404, NOT_FOUND)]
    async with CuttingController(FRAMES, {"": plan}) as controller, a_client(controller) as client:
        got, _ = await ask_until_failure(client)
    assert text_of(got) == TEXTS[0] + TEXTS[1][:1]


async def test_coming_back_is_tried_for_a_bounded_time():
    controller = CuttingController(FRAMES, {"": [AFTER_TWO, *[Refused(503)] * 100]})
    async with controller, a_client(controller, patience=0.4) as client:
        async with asyncio.timeout(5):
            _, failure = await ask_until_failure(client)
        assert "Not now." in failure.message
        assert 2 < len(controller.asked[""]) < 10
        controller.plans["mute"] = [AFTER_TWO, Hang()]
        async with asyncio.timeout(5):
            _, failure = await ask_until_failure(client, "mute")
        assert "Nobody answers" in failure.message
        await eventually(lambda: controller.gone == 1)


async def test_a_client_without_patience_does_not_come_back():
    controller = CuttingController(FRAMES, {"": [AFTER_TWO]})
    async with controller, a_client(controller, patience=0) as client:
        _, failure = await ask_until_failure(client)
    assert len(controller.asked[""]) == 1
    assert "Coming back" not in failure.message


async def test_connections_that_bring_nothing_new_are_bounded():
    controller = CuttingController(FRAMES, {"": [AFTER_TWO, *[Cut(0)] * 100]})
    async with controller, a_client(controller) as client:
        got, failure = await ask_until_failure(client)
    assert text_of(got) == "".join(TEXTS[:2])
    assert "again and again" in failure.message
    assert len(controller.asked[""]) == 1 + MOST_LOSSES


async def test_a_stream_without_ids_is_not_asked_for_again():
    frames = [event({"choices": [says(text)]}) for text in TEXTS] + [DONE]
    plan = [Cut(2 * len(frames[0]))]
    async with CuttingController(frames, {"": plan}) as controller, a_client(controller) as client:
        got, failure = await ask_until_failure(client)
    assert text_of(got) == TEXTS[0]
    assert "Coming back" not in failure.message
    assert len(controller.asked[""]) == 1


async def test_an_error_event_ends_an_answer_for_good():
    frames = [*FRAMES[:3], event({"error": {"message": "The engine failed."}})]
    controller = CuttingController(frames, {"": [AFTER_TWO]})
    async with controller, a_client(controller) as client:
        got, failure = await ask_until_failure(client)
    assert isinstance(failure, APIError)
    assert failure.message == "The engine failed."
    assert text_of(got) == "".join(TEXTS[:3])
    assert len(controller.asked[""]) == 2


async def test_silence_is_no_loss():
    controller = CuttingController(FRAMES, {"": [Hang()]})
    async with controller, a_client(controller, read_timeout=0.2) as client:
        with pytest.raises(UpstreamTimeout):
            await ask(client)
    assert len(controller.asked[""]) == 1


async def test_who_waits_for_a_connection_is_told_and_gets_the_rest():
    controller = CuttingController(FRAMES, {"": [AFTER_TWO]})
    got: list[Delta] = []
    async with controller, a_client(controller) as client:
        async for delta in client.stream_chat(body("")):
            got.append(delta)
            if text_of(got) == "".join(TEXTS[:2]) and not delta.reconnecting:
                await controller.stop()
            if delta.reconnecting:
                await controller.start()
    assert text_of(got) == "".join(TEXTS)
    assert [delta.reconnecting for delta in got].count(True) == 1


@pytest.mark.parametrize("down", [True, False], ids=["pause", "hanging connection"])
@pytest.mark.parametrize("told", [True, False], ids=["told", "at once"])
async def test_closing_the_answer_while_it_waits_ends_the_waiting(down, told):
    controller = CuttingController(FRAMES, {"": [AFTER_TWO, Hang()]})
    async with controller, a_client(controller, patience=60) as client:
        lost, waiting = asyncio.Event(), asyncio.Event()

        async def read() -> None:
            async with aclosing(client.stream_chat(body(""))) as deltas:
                got: list[Delta] = []
                async for delta in deltas:
                    got.append(delta)
                    if text_of(got) == "".join(TEXTS[:2]) and not lost.is_set():
                        if down:
                            await controller.stop()
                        lost.set()
                    if delta.reconnecting:
                        waiting.set()

        reading = asyncio.create_task(read())
        await lost.wait()
        if told:
            await waiting.wait()
        elif not down:
            await eventually(lambda: len(controller.asked[""]) == 2)
        reading.cancel()
        async with asyncio.timeout(1):
            await asyncio.wait({reading})
        assert reading.cancelled()
        if not down:
            await eventually(lambda: controller.gone == 1)


async def test_leaving_the_loop_while_it_waits_closes_the_hanging_connection():
    controller = CuttingController(FRAMES, {"": [AFTER_TWO, Hang()]})
    async with controller, a_client(controller, patience=60) as client:
        async with asyncio.timeout(5), aclosing(client.stream_chat(body(""))) as deltas:
            async for delta in deltas:
                if delta.reconnecting:
                    break
        await eventually(lambda: controller.gone == 1)


async def test_the_web_ui_shows_that_it_reconnects_and_then_the_whole_answer():
    # A hanging connection ends when the controller does.
    controller = CuttingController(FRAMES, {"": [AFTER_TWO, Hang()]})
    shown: list[tuple[str, bool]] = []
    async with controller, a_client(controller) as client:
        turn = Turn(client, body(""), WebuiMetrics(CollectorRegistry()))
        async for text in turn.texts():
            shown.append((text, turn.reconnecting))
            if turn.reconnecting:
                await controller.stop()
                await controller.start()
    before = "".join(TEXTS[:2])
    assert shown[:2] == [(before, False), (before, True)]
    assert not any(reconnecting for _, reconnecting in shown[2:])
    assert turn.outcome.text == "".join(TEXTS)
    assert turn.outcome.finish == "stop"
    assert not turn.reconnecting


async def test_stopping_the_web_ui_while_it_reconnects_keeps_what_came():
    controller = CuttingController(FRAMES, {"": [AFTER_TWO, Hang()]})
    async with controller, a_client(controller, patience=60) as client:
        turn = Turn(client, body(""), WebuiMetrics(CollectorRegistry()))
        async with asyncio.timeout(5):
            async for _ in turn.texts():
                if turn.reconnecting:
                    turn.stop()
        await eventually(lambda: controller.gone == 1)
    assert turn.outcome.finish == "cancelled"
    assert turn.outcome.text == "".join(TEXTS[:2])


async def test_the_readmes_client_loses_nothing():
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    (script,) = [text for text in blocks if "Last-Event-ID" in text]
    question = "What is the capital of France?"
    half_an_event = Cut(LENGTHS[2] - 20)
    controller = CuttingController(FRAMES, {question: [AFTER_TWO, Refused(503), half_an_event]})
    async with controller:
        moved = script.replace("http://127.0.0.1:8000", controller.url)
        out, err, code = await run([sys.executable, "-c", moved])
    assert (out, err, code) == ("".join(TEXTS) + "\n", "", 0)
    assert len(controller.asked[question]) == 4


async def run(command: Sequence[str], **options: Any) -> tuple[str, str, int | None]:
    """Return what a program prints on stdout and stderr, and its exit code."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, **options
    )
    out, err = await process.communicate()
    return out.decode(), err.decode(), process.returncode


def chat(controller: CuttingController, folder: object, *arguments: str) -> tuple[list[str], dict]:
    environment = clean_environment(LLMZOO_BASE_URL=controller.url, LLMZOO_STATE_DIR=str(folder))
    return [*LLMZOO, "chat", "--model", "demo", *arguments], environment


async def test_one_question_in_a_pipe_gets_the_whole_answer(tmp_path):
    controller = CuttingController(FRAMES, {"Hi": [AFTER_TWO, Cut(LENGTHS[2])]})
    async with controller:
        command, environment = chat(controller, tmp_path, "Hi")
        out, err, code = await run(command, env=environment)
    assert (out, err, code) == ("".join(TEXTS) + "\n", "", 0)


@pytest.mark.parametrize("style", ["rich", "plain"])
async def test_a_chat_shows_that_it_reconnects_and_then_the_whole_answer(tmp_path, style):
    # A hanging connection ends when the controller does.
    controller = CuttingController(FRAMES, {"Hi": [AFTER_TWO, Hang()]})
    async with controller:
        command, environment = chat(controller, tmp_path, "--style", style)
        with TerminalProcess(command, environment) as terminal:
            await asyncio.to_thread(terminal.enter, "Hi")
            await asyncio.to_thread(terminal.expect, "reconnecting")
            await controller.stop()
            await controller.start()
            await asyncio.to_thread(terminal.expect, "Ende")
            await asyncio.to_thread(terminal.expect, "TTFT")
            await asyncio.to_thread(terminal.enter, "/exit")
            assert await asyncio.to_thread(terminal.ends) == 0
