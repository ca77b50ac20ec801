"""An endpoint's events are passed on whole and unchanged, however they are cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.controller.endpoints.events import MAX_EVENT_BYTES, EventStream
from services.controller.endpoints.usage import Usage
from shared.errors import UpstreamFailed
from shared.protocol.sse import DONE, event

texts = st.text(max_size=20)
events = st.one_of(
    texts.map(lambda text: event({"choices": [{"delta": {"content": text}}]})),
    st.sampled_from([b": keepalive\n\n", b"event: x\ndata: {}\n\n", b"id: 1\r\ndata: {}\r\n\r\n"]),
)


def fed(stream, raw, cuts):
    """Feed `raw`, cut at these places; return what came out piece by piece."""
    edges = sorted({0, len(raw), *(cut % (len(raw) + 1) for cut in cuts)})
    return [stream.feed(raw[a:b]) for a, b in pairwise(edges)]


@given(st.lists(events, max_size=8), st.lists(st.integers(0, 10_000), max_size=12))
def test_whatever_the_cuts_the_bytes_are_the_same_and_pieces_end_with_an_event(given_events, cuts):
    raw = b"".join(given_events) + DONE
    stream = EventStream("ext")

    pieces = fed(stream, raw, cuts)

    assert b"".join(pieces) == raw
    assert all(not piece or piece.endswith((b"\n\n", b"\r\n")) for piece in pieces)
    assert stream.done
    assert stream.fault is None


@given(st.lists(events, max_size=5), st.lists(st.integers(0, 10_000), max_size=8))
def test_nothing_behind_something_strange_goes_on(given_events, cuts):
    good = b"".join(given_events)
    stream = EventStream("ext")

    pieces = fed(stream, good + b"<html>\n\n" + DONE, cuts)

    passed = b"".join(pieces)
    assert stream.fault is not None
    # Whoever feeds on after a fault gets what comes then; the relay does not.
    assert passed.startswith(good)
    assert b"<html>" not in passed


def test_the_cut_event_stays_here():
    stream = EventStream("ext")

    assert stream.feed(b'data: {}\n\ndata: {"half') == b"data: {}\n\n"
    with pytest.raises(UpstreamFailed):
        stream.end()


def test_text_that_spells_the_end_is_not_the_end():
    stream = EventStream("ext")
    stream.feed(event({"choices": [{"delta": {"content": "[DONE]"}}]}))
    assert not stream.done


def test_a_comment_after_the_end_is_no_fault():
    stream = EventStream("ext")
    stream.feed(DONE + b": bye\n\n")
    stream.end()
    assert stream.done


def test_an_event_without_end_is_a_fault():
    stream = EventStream("ext")
    stream.feed(b"data: " + b"x" * MAX_EVENT_BYTES)
    assert stream.fault is not None


USAGE = event({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}})
NULL = event({"choices": [{"delta": {}}], "usage": None})


@pytest.mark.parametrize(
    ("pieces", "usage"),
    [
        ([NULL, USAGE, DONE], Usage(3, 4)),
        ([NULL + USAGE + DONE], Usage(3, 4)),
        ([USAGE, b": ping\n\n", DONE], Usage(3, 4)),
        ([NULL, DONE], None),
        ([b"data: no JSON\n\n", DONE], None),
        ([event({"usage": {"prompt_tokens": "3"}}), DONE], None),
        ([event({"usage": {"prompt_tokens": -3, "completion_tokens": 1}}), DONE], None),
        ([event({"usage": {"prompt_tokens": True, "completion_tokens": 1}}), DONE], None),
        ([], None),
    ],
)
def test_usage_is_what_the_last_events_tell(pieces, usage):
    stream = EventStream("ext")
    for piece in pieces:
        stream.feed(piece)
    assert stream.usage() == usage
