from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.controller.call_store.identity import CallIdentity, idempotency_key
from services.controller.call_store.records import Record, RecordUnreadable
from shared.errors import InvalidRequest

keys = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=255)
principals = st.text(max_size=20)
bodies = st.binary(max_size=50)
paths = st.sampled_from(["/v1/chat/completions", "/v1/completions"])
calls = st.tuples(principals, keys, paths, bodies)
headers = st.lists(st.tuples(st.text(max_size=9), st.text(max_size=9))).map(tuple)


@given(calls, calls)
def test_two_calls_are_one_if_and_only_if_all_is_equal(first, second):
    one, other = CallIdentity.of(*first), CallIdentity.of(*second)

    assert one == CallIdentity.of(*first)
    assert (one == other) == (first == second)
    assert (one.slot == other.slot) == (first[:2] == second[:2])
    assert (one.fingerprint == other.fingerprint) == (first[2:] == second[2:])


@given(keys)
def test_visible_ascii_is_a_key(key):
    found = idempotency_key([(b"host", b"x"), (b"idempotency-key", key.encode())])
    assert found == key


def test_no_header_is_no_key():
    assert idempotency_key([(b"host", b"x")]) is None


@pytest.mark.parametrize(
    "values",
    [
        [b""],
        [b"a b"],
        [b"a\tb"],
        [b"\x7f"],
        [b"a\n"],
        ["ä".encode()],
        ["ä".encode("latin-1")],
        [b"a" * 256],
        [b"a", b"a"],
        [b"a", b"b"],
    ],
)
def test_another_key_is_refused_by_the_headers_name(values):
    with pytest.raises(InvalidRequest, match="Idempotency-Key") as refused:
        idempotency_key([(b"idempotency-key", value) for value in values])
    assert refused.value.param == "idempotency-key"


@given(
    st.integers(100, 599), headers, st.binary(), st.sampled_from(["", "ab" * 32]), st.integers(0)
)
def test_a_record_is_read_as_it_was_written(status, head, body, digest, size):
    size %= 2**40
    record = Record(status, head, body, digest, size)
    assert Record.decode(record.encode("f" * 64)) == record


@given(st.binary())
def test_anything_else_is_no_record(stored):
    with pytest.raises(RecordUnreadable):
        Record.decode(b"f" * 64 + b"{}" + stored)
