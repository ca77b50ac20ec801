from __future__ import annotations

from services.cli.up.lines import LineSplitter


def test_lines_come_whole_however_the_chunks_fall() -> None:
    splitter = LineSplitter()
    assert splitter.feed(b"one\ntw") == ["one"]
    assert splitter.feed(b"o\n\nthree") == ["two", ""]
    assert splitter.finish() == ["three"]
    assert splitter.finish() == []


def test_a_character_cut_by_a_chunk_stays_whole() -> None:
    splitter = LineSplitter()
    first, second = "é\n".encode()[:1], "é\n".encode()[1:]
    assert splitter.feed(first) == []
    assert splitter.feed(second) == ["é"]


def test_a_long_line_is_shortened_and_the_next_is_not() -> None:
    splitter = LineSplitter(limit=4)
    assert splitter.feed(b"abc") == []
    assert splitter.feed(b"defg\nhi\n") == ["abcd … (3 bytes more)", "hi"]


def test_of_a_progress_bar_the_last_state_remains() -> None:
    splitter = LineSplitter(limit=6)
    assert splitter.feed(b"10 %\r20 %\r") == []
    assert splitter.feed(b"30 %\r100 %\r\n") == ["100 %"]


def test_bytes_that_are_no_text_do_not_break_it() -> None:
    assert LineSplitter().feed(b"\xff\n") == ["\ufffd"]


def test_a_carriage_return_at_the_end_of_a_chunk_counts_too() -> None:
    splitter = LineSplitter()
    assert splitter.feed(b"10 %\r") == []
    assert splitter.feed(b"20 %\r") == []
    assert splitter.feed(b"\nwindows\r\n") == ["20 %", "windows"]
