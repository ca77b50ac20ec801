"""Server-sent events come out whole, however the bytes were cut."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.protocol.sse import DONE, SSEDecoder, event


@given(
    sent=st.lists(st.dictionaries(st.text(), st.text(), max_size=3), max_size=5),
    cut=st.integers(1, 30),
)
def test_any_cut_gives_the_same_events(sent: list[dict[str, str]], cut: int) -> None:
    wire = b"".join(event(item) for item in sent) + DONE
    decoder, got = SSEDecoder(), []
    for position in range(0, len(wire), cut):
        got += decoder.feed(wire[position : position + cut])
    assert got[-1] == b"[DONE]"
    assert [orjson.loads(data) for data in got[:-1]] == sent


def test_comments_and_carriage_returns_are_no_data() -> None:
    decoder = SSEDecoder()
    wire = b": keepalive\r\n\r\nevent: x\r\nid: 3\r\ndata: a\r\ndata:b\r\n\r\n"
    assert list(decoder.feed(wire)) == [b"a\nb"]


def test_a_line_without_end_is_bounded() -> None:
    decoder = SSEDecoder(max_bytes=100)
    with pytest.raises(ValueError, match="longer than 100"):
        list(decoder.feed(b"x" * 101))


@given(told=st.lists(st.none() | st.text("abc.-7", max_size=5), max_size=8), cut=st.integers(1, 12))
def test_an_id_is_told_with_its_event_and_stays_until_the_next(
    told: list[str | None], cut: int
) -> None:
    wire, expected, last = b"", [], ""
    for number, name in enumerate(told):
        last = last if name is None else name
        wire += (f"id: {name}\n" if name is not None else "").encode() + event(number)
        expected.append((b"%d" % number, last.encode()))
    decoder, got = SSEDecoder(), []
    for position in range(0, len(wire), cut):
        piece = wire[position : position + cut]
        got += [(data, decoder.last_event_id) for data in decoder.feed(piece)]
    assert got == expected


@pytest.mark.parametrize(
    ("wire", "last"),
    [
        (b"id:x\ndata: 1\n\n", b"x"),
        (b"id:  x\r\ndata: 1\r\n\r\n", b" x"),
        (b"data: 1\nid: x\n\n", b"x"),
        (b"id: x\n\n", b"x"),  # of an event without data, which is none
        (b"id: x\ndata: 1\n", b""),  # the event has not ended
        (b"id: x\n\nid: y\0z\ndata: 1\n\n", b"x"),
        (b"id: x\n\nid\n\n", b""),
        (b"id: x\n\nid:\n\n", b""),
        (b"id: x\n\nidx: y\ndata: 1\n\n", b"x"),
    ],
)
def test_what_counts_as_the_last_id(wire: bytes, last: bytes) -> None:
    decoder = SSEDecoder()
    list(decoder.feed(wire))
    assert decoder.last_event_id == last


def test_a_new_stream_begins_with_the_last_id_and_without_what_was_half_read() -> None:
    decoder = SSEDecoder()
    list(decoder.feed(b"id: x\ndata: 1\n\nid: y\ndata: 2\nda"))
    decoder.reconnected()
    assert list(decoder.feed(b"data: 3\n\n")) == [b"3"]
    assert decoder.last_event_id == b"x"


def test_an_events_type_is_told_with_it() -> None:
    decoder = SSEDecoder()
    wire = b"event: done\n\nevent: item\ndata: 1\n\ndata: 2\n\nevent:x\r\ndata: 3\r\n\r\n"
    assert [(data, decoder.event) for data in decoder.feed(wire)] == [
        (b"1", b"item"),
        (b"2", b""),
        (b"3", b"x"),
    ]
