"""Event ids: what is written is read again, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InvalidRequest
from shared.protocol.event_id import EventId

# A worker's id holds its host's name.
WORKERS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=128)
ANSWERS = st.from_regex(r"(chatcmpl|cmpl)-[0-9a-f]{32}", fullmatch=True)


@given(WORKERS, ANSWERS, st.integers(0, 2**32 - 1))
def test_an_id_is_read_as_it_was_written(worker, answer, number):
    written = EventId(worker, answer, number).encode()
    assert EventId.parse(written) == (worker, answer, number)


@pytest.mark.parametrize(
    "text", ["", ".", "a.b", "a..1", ".b.1", "a.b.", "a.b.x", "a.b.²", "a.b.1 "]
)
def test_what_is_no_id_is_refused(text):
    with pytest.raises(InvalidRequest) as refused:
        EventId.parse(text)
    assert refused.value.param == "Last-Event-ID"
