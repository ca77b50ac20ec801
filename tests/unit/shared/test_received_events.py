"""Whatever is lost and wherever: each event counts once, in order."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.protocol.sse import DONE, event
from shared.received_events import ReceivedEvents

WORKER, ANSWER = "w", "chatcmpl-1"


def wire(frames: list[list[int]]) -> list[bytes]:
    """Return each frame's bytes: its numbers as events, the id at the last one; then the end."""
    written = []
    for number, values in enumerate(frames, 1):
        *before, last = map(event, values)
        written.append(b"".join(before) + f"id: w.chatcmpl-1.{number}\n".encode() + last)
    return [*written, event("finish") + event("usage") + DONE]


def pieces_of(body: bytes, size: int) -> list[bytes]:
    return [body[at : at + size] for at in range(0, len(body), size)]


@given(
    frames=st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=3), min_size=1, max_size=5),
    cuts=st.lists(st.integers(0, 250), max_size=5),
    size=st.integers(1, 40),
)
def test_each_event_counts_once_however_often_the_stream_is_lost(
    frames: list[list[int]], cuts: list[int], size: int
) -> None:
    written = wire(frames)
    everything = [*(value for values in frames for value in values), "finish", "usage"]
    received, got = ReceivedEvents[object](), []
    for cut in [*cuts, None]:
        place = received.place
        body = b"".join(written[int(place.rpartition(".")[2]) if place else 0 :])
        for piece in pieces_of(body[:cut], size):
            got += received.take(piece, orjson.loads)
        assert got == everything[: len(got)]
        if received.done or not received.place:
            break
        received.reconnected()
    # Lost before the first id, nobody can come back.
    assert got == everything if received.done else cuts[0] < len(written[0])


def test_what_was_held_is_given_where_nothing_more_comes() -> None:
    received = ReceivedEvents[object]()
    body = b"id: w.a.1\n" + event(1) + event(2) + event("finish")
    assert list(received.take(body, orjson.loads)) == [1]
    assert list(received.held()) == [2, "finish"]
    assert list(received.held()) == []


def test_a_stream_without_ids_is_passed_on_as_it_comes() -> None:
    received = ReceivedEvents[object]()
    assert list(received.take(event(1), orjson.loads)) == [1]
    assert list(received.take(event(2), orjson.loads)) == [2]
    assert received.place == ""


def test_a_server_that_tells_an_id_once_holds_up_no_more_than_a_bounded_number_of_events() -> None:
    received = ReceivedEvents[object]()
    body = b"id: w.a.1\n" + b"".join(map(event, range(1000)))
    assert list(received.take(body, orjson.loads)) == list(range(1000))
    assert received.place == ""
    assert list(received.take(b"id: w.a.2\n" + event(1000), orjson.loads)) == [1000]
    assert received.place == "w.a.2"


@pytest.mark.parametrize(
    "name",
    ["7", "a.b.c", "w.a.99999999999", "w.\xe9.1", "w.a\tb.1", "w.a\r.1", "w.a.1" + "0" * 600],
)
def test_an_id_that_is_none_of_ours_leads_nowhere(name: str) -> None:
    received = ReceivedEvents[object]()
    body = f"id: {name}\n".encode() + event(1)
    assert list(received.take(body, orjson.loads)) == [1]
    assert received.place == ""
    # Nor is anything held back for the next one's sake.
    assert list(received.take(event(2), orjson.loads)) == [2]


def test_what_a_reader_raises_leaves_what_was_held() -> None:
    received = ReceivedEvents[object]()
    body = b"id: w.a.1\n" + event(1) + event(2) + b"data: {\n\n"
    got: list[object] = []
    with pytest.raises(orjson.JSONDecodeError):
        got.extend(received.take(body, orjson.loads))
    assert list(received.held()) == [2]
