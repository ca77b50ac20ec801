"""How answers look, in plain text and as markdown on a terminal."""

from __future__ import annotations

import io
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from services.cli.chat.markdown import answer_markdown, split_final
from services.cli.chat.rendering import PlainDisplay
from services.cli.chat.rich_rendering import RichDisplay

ANSWER = """# Title

Some *text* with `code`.

```python
def f():

    return 1
```

- one

- two

Last words"""


class Screen(io.StringIO):
    """A terminal that keeps what is written."""

    def isatty(self):
        return True


def shown(*pieces, **options):
    """The lines that stay on a terminal, without colours and without what was live."""
    screen = Screen()
    display = RichDisplay(Console(file=screen, force_terminal=True, width=60, **options))
    with display.answer() as view:
        for piece in pieces:
            view.add(piece)
    # Every live line is erased before anything is printed over it.
    stays = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", screen.getvalue())
    return [line.rstrip() for line in stays.splitlines()]


@given(st.text(st.sampled_from("a #-*`1.>|\n"), max_size=80))
def test_a_split_loses_nothing(text):
    final, rest = split_final(text)
    assert final + rest == text


def test_final_blocks_are_not_changed_by_what_follows():
    finals = [split_final(ANSWER[:end])[0] for end in range(len(ANSWER) + 1)]
    for earlier, later in pairwise(finals):
        assert later.startswith(earlier)
    assert finals[-1].endswith("- two\n\n")


def test_an_open_code_block_is_not_final():
    text = "Before\n\n```\none\n\ntwo\n\n"
    assert split_final(text) == ("Before\n\n", text.removeprefix("Before\n\n"))


def test_html_is_shown_as_it_was_written():
    console = Console(file=io.StringIO(), width=60)
    console.print(answer_markdown("<think>\nhm\n</think>\n\nUse <br> here."))
    text = console.file.getvalue()
    assert "<think>" in text
    assert "hm" in text
    assert "Use <br> here." in text


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_markdown_is_whole_however_it_arrives(size):
    pieces = [ANSWER[i : i + size] for i in range(0, len(ANSWER), size)]
    text = "\n".join(shown(*pieces))
    for words in ("Title", "Some text with code.", "def f():", "return 1", "one", "two"):
        assert text.count(words) >= 1
    assert text.rstrip().endswith("Last words")
    assert "*text*" not in text
    assert "```" not in text


def test_what_came_before_a_failure_stays():
    screen = Screen()
    display = RichDisplay(Console(file=screen, force_terminal=True))

    def fail():
        with display.answer() as view:
            view.add("Half")
            raise ConnectionError

    with pytest.raises(ConnectionError):
        fail()
    assert "Half\n" in re.sub(r" +\n", "\n", screen.getvalue())


def test_a_lost_connection_is_shown_while_it_is_sought_and_then_no_more():
    def live(view):
        console = Console(file=io.StringIO(), width=60)
        console.print(view.growing())
        return [line.rstrip() for line in console.file.getvalue().splitlines()]

    with RichDisplay(Console(file=Screen(), force_terminal=True)).answer() as view:
        view.add("Half")
        view.reconnecting()
        assert live(view) == ["Half", "reconnecting …"]
        view.add(" and whole")
        assert live(view) == ["Half and whole"]


def test_a_lost_connection_is_a_line_of_its_own_in_plain_text():
    def both(out, err):
        with PlainDisplay(out, err).answer() as view:
            view.add("Half")
            view.reconnecting()
            view.add(" and whole")
        return out.getvalue(), err.getvalue()

    assert both(io.StringIO(), io.StringIO()) == ("Half and whole\n", "[reconnecting]\n")
    terminal = Screen()
    both(terminal, terminal)
    assert terminal.getvalue() == "Half\n[reconnecting]\n and whole\n"


def test_an_answer_cannot_drive_the_terminal():
    assert "\x1b]52" not in "".join(shown("\x1b]52;c;secret\x07done"))
    out = Screen()
    with PlainDisplay(out, Screen()).answer() as view:
        view.add("\x1b[2Jdone")
    assert out.getvalue() == "[2Jdone\n"


def test_markup_of_rich_is_only_text():
    screen = Screen()
    RichDisplay(Console(file=screen, force_terminal=True)).fault("[bold]no[/bold]")
    assert "error: [bold]no[/bold]" in screen.getvalue()


def test_no_color_takes_the_colours():
    def fault_on(console):
        RichDisplay(console).fault("no")
        return console.file.getvalue()

    options = {"force_terminal": True, "color_system": "standard"}
    assert "\x1b[31m" in fault_on(Console(file=Screen(), **options))
    assert "\x1b[31m" not in fault_on(Console(file=Screen(), **options, _environ={"NO_COLOR": "1"}))


def test_a_pipe_gets_the_answer_unchanged_and_nothing_else():
    out, err = io.StringIO(), io.StringIO()
    display = PlainDisplay(out, err)
    with display.answer() as view:
        for piece in ("Hel", "", "lo \x1b[1m"):
            view.add(piece)
    display.notice("saved")
    display.fault("broken")
    display.figures("TTFT")
    assert out.getvalue() == "Hello \x1b[1m\n"
    assert err.getvalue() == "saved\nerror: broken\n[TTFT]\n"


@pytest.mark.parametrize(("pieces", "text"), [(["a\n"], "a\n"), (["a", "\n", ""], "a\n"), ([], "")])
def test_an_answer_ends_with_one_line_end(pieces, text):
    out = io.StringIO()
    with PlainDisplay(out, io.StringIO()).answer() as view:
        for piece in pieces:
            view.add(piece)
    assert out.getvalue() == text
