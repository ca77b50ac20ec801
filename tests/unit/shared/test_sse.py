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
