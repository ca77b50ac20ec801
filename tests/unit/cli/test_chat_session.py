"""What the commands do, and what the loop of a chat shows."""

from __future__ import annotations

import asyncio
import signal

import orjson
import pytest

from services.cli.chat.commands import CommandRefused, parse_line
from services.cli.chat.interactive import converse
from services.cli.chat.interrupts import Interrupted
from services.cli.chat.session import ChatSession
from shared.client import APIError, Delta
from shared.errors import Unavailable, UpstreamFailed
from tests.fakes.chat_source import RecordingDisplay, ScriptedSource, ScriptedTerminal, says


def session_of(*scripts, **options):
    return ChatSession(ScriptedSource(*scripts, **options), "one")


async def run(session, line):
    return await session.run(parse_line(line))


async def chat(session, *lines):
    terminal, display = ScriptedTerminal(*lines), RecordingDisplay()
    await converse(session, terminal, display)
    assert terminal.left == 0 or lines[-1] != "/exit"
    return display


async def test_a_chat_goes_back_and_forth():
    session = session_of(says("Hel", "lo"), says("Bye"))
    display = await chat(session, "Hi", "   ", "So long")
    assert display.of("answer") == ["Hello", "Bye"]
    assert session.source.asked[1]["messages"] == [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "So long"},
    ]
    assert display.of("figures")[0].startswith("TTFT ")


async def test_a_lost_connection_is_shown_and_is_no_part_of_the_answer():
    session = session_of([Delta("Hel"), Delta(reconnecting=True), *says("lo")])
    display = await chat(session, "Hi")
    assert display.of("reconnecting") == ["Hel"]
    assert display.of("answer") == ["Hello"]
    assert [m.content for m in session.conversation.messages] == ["Hi", "Hello"]


async def test_a_slash_is_sent_by_two():
    session = session_of(says("ok"))
    await chat(session, "//exit is a word")
    assert session.source.asked[0]["messages"][0]["content"] == "/exit is a word"


@pytest.mark.parametrize(
    "fault",
    [
        Unavailable("Nothing answers."),
        UpstreamFailed("It broke off."),
        APIError(429, {"message": "All\nfull."}, "req-7", 2.0),
    ],
)
async def test_a_failure_is_one_line_and_retry_asks_again(fault):
    session = session_of([Delta("Half", request_id="req-7"), fault], says("Whole"))
    display = await chat(session, "Hi", "/retry")
    [text] = display.of("fault")
    assert "\n" not in text
    assert "req-7" in text
    assert display.of("answer") == ["Half", "Whole"]
    assert session.source.asked[0] == session.source.asked[1]
    assert [m.content for m in session.conversation.messages] == ["Hi", "Whole"]


async def test_a_failure_before_the_first_piece_tells_when_to_try_again():
    session = session_of([APIError(429, {"message": "All full."}, "req-7", 2.0)])
    display = await chat(session, "Hi")
    assert "All full. Try again in 2 s. (request req-7)" in display.of("fault")[0]


async def test_ctrl_c_stops_the_answer_and_keeps_what_came():
    async def interrupt():
        signal.raise_signal(signal.SIGINT)
        await asyncio.Event().wait()

    session = session_of([Delta("Half"), interrupt], says("Next"))
    display = await chat(session, "Hi", "Go on")
    assert ("notice", "Stopped.") in display.shown
    assert session.source.closed == 2
    assert [m.content for m in session.conversation.messages] == ["Hi", "Half", "Go on", "Next"]


async def test_ctrl_c_before_the_first_piece_leaves_the_question_for_retry():
    async def interrupt():
        signal.raise_signal(signal.SIGINT)
        await asyncio.Event().wait()

    session = session_of([interrupt], says("Now"))
    display = await chat(session, "Hi", "/retry")
    assert display.of("answer") == ["", "Now"]
    assert session.source.asked[0] == session.source.asked[1]


async def test_ctrl_c_works_as_before_after_an_answer():
    before = signal.getsignal(signal.SIGINT)
    await chat(session_of(says("a")), "Hi")
    assert signal.getsignal(signal.SIGINT) is before


async def test_cancelling_the_chat_itself_is_no_stop_of_an_answer():
    started = asyncio.Event()

    async def hang():
        started.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(chat(session_of([hang]), "Hi", "never"))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_ctrl_c_twice_at_the_prompt_leaves():
    source = session_of(says("a"))
    keys = (Interrupted(), "Hi", Interrupted(), Interrupted(), "never")
    display = await chat(source, *keys)
    assert display.of("answer") == ["a"]
    assert len([n for n in display.of("notice") if "Ctrl-C again" in n]) == 2


async def test_ctrl_d_and_exit_leave():
    assert (await chat(session_of(), EOFError(), "never")).shown == []
    assert (await chat(session_of(), "/exit", "never")).shown == []


async def test_model_lists_and_switches():
    session = session_of()
    assert (await run(session, "/model")).notice == "* one\n  two"
    await run(session, "/model two")
    assert session.body()["model"] == "two"
    with pytest.raises(CommandRefused, match="There are: one, two"):
        await run(session, "/model three")
    assert session.model == "two"


async def test_system_is_set_shown_and_dropped():
    session = session_of()
    assert "no system" in (await run(session, "/system")).notice
    await run(session, "/system Be brief.\nAlways.")
    assert session.body()["messages"] == [{"role": "system", "content": "Be brief.\nAlways."}]
    assert (await run(session, "/system")).notice == "Be brief.\nAlways."
    await run(session, "/system off")
    assert session.body()["messages"] == []


async def test_set_changes_the_next_request():
    session = session_of()
    await run(session, "/set temperature 0.5")
    await run(session, '/set stop ["a", "b"]')
    assert session.body() == {
        "model": "one",
        "messages": [],
        "temperature": 0.5,
        "stop": ["a", "b"],
    }
    shown = (await run(session, "/set")).notice
    assert "temperature = 0.5" in shown
    assert "top_p is left to the server" in shown
    assert "0.5" in (await run(session, "/set temperature")).notice
    await run(session, "/set temperature off")
    assert "temperature" not in session.body()


@pytest.mark.parametrize(
    ("line", "possible"),
    [
        ("/set warmth 1", "temperature, top_p, max_tokens, seed, stop"),
        ("/set temperature 3", "from 0 .* to 2"),
        ("/set max_tokens 0", "from 1 on"),
        ("/stats maybe", "on or off"),
        ("/help nope", "/model"),
        ("/retry", "no question"),
        ("/undo", "no question"),
        ("/save", "/save FILE"),
        ("/save overwrite", "nothing to save"),
        ("/load", "/load FILE"),
    ],
)
async def test_a_refusal_says_what_is_possible(line, possible):
    with pytest.raises(CommandRefused, match=possible):
        await run(session_of(), line)


async def test_a_refused_value_changes_nothing():
    session = session_of()
    await run(session, "/set temperature 1")
    with pytest.raises(CommandRefused):
        await run(session, "/set temperature 3")
    assert session.parameters == {"temperature": 1.0}


async def test_save_and_load_carry_everything(tmp_path):
    file = tmp_path / "my chat.json"
    session = session_of(says("Hello"))
    await chat(session, "/system brief", "/set seed 7", "Hi", f"/save {file}")
    body = orjson.loads(file.read_bytes())
    assert body == {
        "model": "one",
        "messages": [
            {"role": "system", "content": "brief"},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello"},
        ],
        "seed": 7,
    }
    other = session_of(models=["two"])
    other.model = "two"
    display = await chat(other, f"/load {file}")
    assert "2 messages" in display.of("notice")[0]
    assert other.body() == body


async def test_save_asks_for_its_word_before_it_overwrites(tmp_path):
    file = tmp_path / "chat.json"
    file.write_text("mine")
    session = session_of(says("Hello"))
    display = await chat(session, "Hi", f"/save {file}")
    assert f"/save {file} overwrite" in display.of("fault")[0]
    assert file.read_text() == "mine"
    await chat(session, f"/save {file} overwrite")
    assert orjson.loads(file.read_bytes())["model"] == "one"


async def test_a_bad_file_leaves_the_conversation(tmp_path):
    file = tmp_path / "chat.json"
    file.write_text("{}")
    session = session_of(says("Hello"))
    display = await chat(session, "Hi", f"/load {file}")
    assert "model" in display.of("fault")[0]
    assert len(session.conversation.messages) == 2


async def test_undo_clear_and_stats():
    session = session_of(says("A"), says("B"))
    display = await chat(session, "/stats off", "a", "b", "/undo")
    assert display.of("figures") == []
    assert [m.content for m in session.conversation.messages] == ["a", "A"]
    await run(session, "/clear")
    assert session.conversation.messages == []
    assert (await run(session, "/stats")).notice.endswith("on.")


async def test_an_unreachable_server_fails_a_command_and_not_the_chat():
    class Gone(ScriptedSource):
        async def models(self):
            msg = "Nothing answers."
            raise Unavailable(msg)

    session = ChatSession(Gone(says("still here")), "one")
    display = await chat(session, "/model", "Hi")
    assert "Nothing answers." in display.of("fault")[0]
    assert display.of("answer") == ["still here"]
