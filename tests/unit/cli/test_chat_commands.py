"""What a typed line means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cli.chat.commands import (
    COMMANDS,
    Command,
    CommandRefused,
    Question,
    help_text,
    parse_line,
)
from services.cli.chat.text import for_terminal, from_terminal


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("Hello", Question("Hello")),
        ("  two words \n", Question("two words")),
        ("//etc/hosts is a file", Question("/etc/hosts is a file")),
        ("///", Question("//")),
        ("/clear", Command("clear", "")),
        ("/CLEAR ", Command("clear", "")),
        ("/quit", Command("exit", "")),
        ("/?", Command("help", "")),
        ("/set temperature 0.5", Command("set", "temperature 0.5")),
        ("/system Be brief.\nBe kind.", Command("system", "Be brief.\nBe kind.")),
        ("/system\nBe kind.", Command("system", "Be kind.")),
    ],
)
def test_a_line_is_a_question_or_a_command(line, meant):
    assert parse_line(line) == meant


@pytest.mark.parametrize("line", ["/nope", "/", "/ clear", "/usr/bin/python fails"])
def test_an_unknown_command_names_all_there_are(line):
    with pytest.raises(CommandRefused) as refused:
        parse_line(line)
    for name in COMMANDS:
        assert f"/{name}" in str(refused.value)
    assert "write two" in str(refused.value)


def test_a_slip_gets_a_guess():
    with pytest.raises(CommandRefused, match=r"Did you mean /model\?"):
        parse_line("/modle")


@given(st.text())
def test_any_text_is_understood_or_refused_with_a_reason(line):
    try:
        meant = parse_line(line)
    except CommandRefused:
        assert line.strip().startswith("/")
    else:
        assert isinstance(meant, Question) or meant.name in COMMANDS


@given(st.text(st.characters(codec="utf-8")).filter(lambda text: text.strip() == text))
def test_every_text_can_be_sent_behind_a_slash(text):
    assert parse_line("//" + text) == Question("/" + text)


@given(st.sampled_from(sorted(COMMANDS)), st.text(st.characters(codec="utf-8")))
def test_every_command_takes_the_rest_of_its_line(name, argument):
    assert parse_line(f"/{name} {argument}") == Command(name, argument.strip())


def test_help_shows_every_command_and_the_keys():
    text = help_text()
    for syntax in COMMANDS.values():
        assert syntax.usage in text
    assert "Alt+Enter" in text


def test_undecodable_bytes_are_replaced():
    typed = b"caf\xe9".decode(errors="surrogateescape")
    assert from_terminal(typed) == "caf\ufffd"


@given(st.text())
def test_a_terminal_gets_no_control_characters(text):
    shown = for_terminal(text)
    assert not any(ord(c) < 32 and c not in "\t\n" for c in shown)
    assert not any(127 <= ord(c) < 160 for c in shown)
    assert for_terminal(shown) == shown


def test_an_escape_sequence_loses_its_escape():
    assert for_terminal("\x1b[31mred\x1b]52;c;x\x07") == "[31mred]52;c;x"
