"""Completion, keys and history of the prompt."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from services.cli.chat.commands import COMMANDS
from services.cli.chat.interrupts import Interrupted
from services.cli.chat.terminal import ChatCompleter, PromptTerminal
from shared.errors import Unavailable


async def served():
    return ["demo", "demo-large", "other"]


async def unreachable():
    msg = "Nothing answers."
    raise Unavailable(msg)


async def completions(text, models=served):
    completer = ChatCompleter(models)
    found = completer.get_completions_async(Document(text), CompleteEvent())
    return [completion.text async for completion in found]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("/", list(COMMANDS)),
        ("/s", ["system", "set", "save", "stats"]),
        ("/model d", ["demo", "demo-large"]),
        ("/set t", ["temperature", "top_p"]),
        ("/stats o", ["on", "off"]),
        ("/help cl", ["clear"]),
        ("/retry ", []),
        ("//s", []),
        ("words", []),
        ("", []),
    ],
)
async def test_tab_completes(text, words):
    assert await completions(text) == words


async def test_tab_completes_files(tmp_path):
    (tmp_path / "notes.json").touch()
    assert await completions(f"/load {tmp_path}/no") == ["tes.json"]


async def test_without_a_server_tab_completes_no_model():
    assert await completions("/model d", unreachable) == []


async def typed(history: Path, *keys: str):
    """What the prompt returns when these keys are pressed."""
    with create_pipe_input() as keyboard, create_app_session(keyboard, DummyOutput()):
        terminal = PromptTerminal(history, served)
        for key in keys:
            keyboard.send_text(key)
        return await terminal.read()


async def test_enter_sends(tmp_path):
    assert await typed(tmp_path / "history", "Hello\r") == "Hello"


async def test_alt_enter_starts_a_line(tmp_path):
    assert await typed(tmp_path / "history", "one\x1b\rtwo\r") == "one\ntwo"


async def test_a_paste_is_one_text(tmp_path):
    pasted = "\x1b[200~first\nsecond\n/exit\x1b[201~"
    assert await typed(tmp_path / "history", pasted, "\r") == "first\nsecond\n/exit"


async def test_ctrl_c_and_ctrl_d(tmp_path):
    with pytest.raises(Interrupted):
        await typed(tmp_path / "history", "half\x03")
    with pytest.raises(EOFError):
        await typed(tmp_path / "history", "\x04")


async def test_history_is_kept_for_its_owner(tmp_path):
    history = tmp_path / "new" / "history"
    await typed(history, "Hello\r")
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    assert await typed(history, "\x1b[A\r") == "Hello"


async def test_without_a_writable_folder_there_is_still_a_prompt(tmp_path):
    (tmp_path / "file").touch()
    assert await typed(tmp_path / "file" / "history", "Hello\r") == "Hello"
