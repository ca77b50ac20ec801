"""A conversation as a file."""

from __future__ import annotations

import os
import stat

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cli.chat import saved
from services.cli.chat.conversation import Conversation, Message
from services.cli.chat.saved import FileRefused, SavedChat
from shared.protocol.openai import parse_chat

TEXT = st.text(st.characters(codec="utf-8"), min_size=1)


def chat(**parameters):
    conversation = Conversation("brief", [Message("user", "a"), Message("assistant", "A")])
    return SavedChat("demo", conversation, parameters)


@given(TEXT, st.text(st.characters(codec="utf-8")), st.lists(TEXT, min_size=1))
def test_what_is_saved_is_loaded(model, system, texts):
    messages = [Message("user" if i % 2 == 0 else "assistant", t) for i, t in enumerate(texts)]
    before = SavedChat(model, Conversation(system, messages), {"temperature": 0.5, "stop": ["x"]})
    after = SavedChat.decode(before.encode())
    assert after == before


def test_a_file_is_a_request_that_a_server_takes():
    request = parse_chat(orjson.loads(chat(temperature=0.0, seed=1).encode()))
    assert [m.role for m in request.messages] == ["system", "user", "assistant"]
    assert request.temperature == 0


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "JSON"),
        (b"\xff\xfe", "UTF-8"),
        (b"[]", "object"),
        (b'{"messages": [{"role": "user", "content": "a"}]}', "model"),
        (b'{"model": "m"}', "messages"),
        (b'{"model": "m", "messages": []}', "messages"),
        (b'{"model": "m", "messages": [{"role": "robot", "content": "a"}]}', r"messages\[0\].role"),
        (b'{"model": "m", "messages": [{"role": "user"}]}', r"messages\[0\].content"),
        (
            b'{"model": "m", "temperature": 9, "messages": [{"role": "user", "content": "a"}]}',
            "temp",
        ),
        (b'{"model": "m", "warmth": 9, "messages": [{"role": "user", "content": "a"}]}', "warmth"),
        (b'{"model": "m", "n": 2, "messages": [{"role": "user", "content": "a"}]}', "'n'"),
        (
            b"""{"model": "m", "messages": [
                {"role": "user", "content": "a"}, {"role": "system", "content": "b"}]}""",
            r"messages\[1\]: only the first",
        ),
    ],
)
def test_a_faulty_file_is_refused_by_its_fault(tmp_path, content, fault):
    file = tmp_path / "chat.json"
    file.write_bytes(content)
    with pytest.raises(FileRefused, match=fault) as refused:
        saved.read(file)
    assert "chat.json is no saved chat" in str(refused.value)


def test_a_file_is_not_replaced_unless_asked(tmp_path):
    file = tmp_path / "chat.json"
    saved.write(file, chat(), overwrite=False)
    with pytest.raises(FileRefused, match="overwrite"):
        saved.write(file, chat(seed=1), overwrite=False)
    assert saved.read(file) == chat()
    saved.write(file, chat(seed=1), overwrite=True)
    assert saved.read(file) == chat(seed=1)
    assert [f.name for f in tmp_path.iterdir()] == ["chat.json"]


def test_a_file_is_its_owners_alone(tmp_path):
    file = tmp_path / "chat.json"
    saved.write(file, chat(), overwrite=False)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_what_cannot_be_written_or_read_is_named(tmp_path):
    with pytest.raises(FileRefused, match="cannot be written: No such file"):
        saved.write(tmp_path / "no" / "chat.json", chat(), overwrite=False)
    with pytest.raises(FileRefused, match="cannot be written"):
        saved.write(tmp_path, chat(), overwrite=True)
    with pytest.raises(FileRefused, match="cannot be read: No such file"):
        saved.read(tmp_path / "chat.json")
    with pytest.raises(FileRefused, match="is not a file"):
        saved.read(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileRefused, match="is not a file"):
        saved.read(tmp_path / "pipe")


def test_an_endless_file_is_not_read_to_its_end(tmp_path):
    file = tmp_path / "large.json"
    with file.open("wb") as large:
        large.truncate(saved.MAX_BYTES + 1)
    with pytest.raises(FileRefused, match="larger than"):
        saved.read(file)
