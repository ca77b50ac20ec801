"""How progress reads, in the heartbeat, in a log and on a terminal."""

import io

import pytest

from shared.progress import PlainLines, Progress, Stage, shown_on


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("progress", "fraction", "text"),
    [
        (Progress(Stage.DOWNLOADING, 43, 100), 0.43, "downloading 43 %"),
        (Progress(Stage.DOWNLOADING, 0, 100), 0.0, "downloading 0 %"),
        (Progress(Stage.DOWNLOADING, 999, 1000), 0.999, "downloading 99 %"),
        (Progress(Stage.DOWNLOADING, 5, 0), None, "downloading"),
        (Progress(Stage.DOWNLOADING, 120, 100), 1.0, "downloading 100 %"),
        (Progress(Stage.LOADING), None, "loading"),
    ],
)
def test_fraction_and_wording(progress, fraction, text):
    assert progress.fraction == fraction
    assert str(progress) == text


def test_plain_lines_come_once_a_tenth_and_once_a_stage():
    stream = io.StringIO()
    show = PlainLines(stream)
    show(Progress(Stage.READING))
    for done in range(1001):
        show(Progress(Stage.CONVERTING, done, 1000))
    show(Progress(Stage.SAVING))
    lines = stream.getvalue().splitlines()
    assert lines == ["reading", *(f"converting {step} %" for step in range(0, 101, 10)), "saving"]


def test_without_a_terminal_there_are_no_control_characters():
    stream = io.StringIO()
    with shown_on(stream) as show:
        show(Progress(Stage.DOWNLOADING, 50, 100))
    assert stream.getvalue() == "downloading 50 %\n"


def test_a_terminal_gets_a_bar_with_bytes_for_each_stage():
    stream = Terminal()
    with shown_on(stream) as show:
        show(Progress(Stage.DOWNLOADING))
        show(Progress(Stage.DOWNLOADING, 50_000_000, 100_000_000))
        show(Progress(Stage.CONVERTING, 40_000_000, 80_000_000))
    last = stream.getvalue()
    assert "downloading" in last
    assert "100.0/100.0 MB" in last  # what lies behind is shown as done
    assert "40.0/80.0 MB" in last
