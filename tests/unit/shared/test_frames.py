"""Frames survive any cut of the byte stream, and nothing else is taken for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.protocol.frames import (
    EndFrame,
    ErrorFrame,
    Frame,
    FrameDecoder,
    FrameError,
    KeepaliveFrame,
    StartFrame,
    TokensFrame,
    encode,
)

uint32 = st.integers(0, 2**32 - 1)
frames = st.one_of(
    st.builds(
        StartFrame,
        id=st.text(),
        created=uint32,
        model=st.text(),
        seed=st.integers(-(2**63), 2**63 - 1),
        prompt_tokens=uint32,
        fingerprint=st.text(),
    ),
    st.builds(
        TokensFrame,
        sequence_number=uint32,
        choice=st.integers(0, 2**16 - 1),
        token_ids=st.lists(uint32, max_size=20).map(tuple),
        data=st.binary(max_size=200),
    ),
    st.just(KeepaliveFrame()),
    st.builds(
        EndFrame,
        finish_reasons=st.lists(st.sampled_from(["stop", "length"])),
        prompt_tokens=uint32,
        completion_tokens=uint32,
        data=st.binary(max_size=200),
    ),
    st.builds(
        ErrorFrame,
        status=st.integers(400, 599),
        error=st.dictionaries(st.text(), st.text()),
        retry_after=st.none() | st.floats(0, 100),
    ),
)


@given(sent=st.lists(frames, max_size=6), cuts=st.lists(st.integers(1, 40), min_size=1))
def test_any_cut_gives_the_same_frames(sent: list[Frame], cuts: list[int]) -> None:
    wire = b"".join(encode(frame) for frame in sent)
    decoder, got, position, turn = FrameDecoder(), [], 0, 0
    while position < len(wire):
        step = cuts[turn % len(cuts)]
        got += decoder.feed(wire[position : position + step])
        position, turn = position + step, turn + 1
    assert got == sent
    assert decoder.pending == 0


@pytest.mark.parametrize(
    "wire",
    [
        b"\x00\x00\x00\x00",
        b"\xff\xff\xff\xff\x01",
        b"\x00\x00\x00\x01\x09",
        b"\x00\x00\x00\x03\x01{}",
        b"\x00\x00\x00\x03\x01[]",
        b"\x00\x00\x00\x05\x01null",
        b"\x00\x00\x00\x02\x02x",
        b"\x00\x00\x00\x09\x02\x00\x00\x00\x00\x00\x00\x00\x05",
        b"\x00\x00\x00\x03\x04ab",
        b"\x00\x00\x00\x06\x05nope!",
        b"HTTP/1.1 500 Internal Server Error\r\n",
    ],
)
def test_other_bytes_are_a_fault(wire: bytes) -> None:
    decoder = FrameDecoder()
    assert decoder.feed(wire) == []
    assert isinstance(decoder.fault, FrameError)


def test_frames_before_a_fault_are_good() -> None:
    decoder = FrameDecoder()
    whole = encode(TokensFrame(1, 0, (5,), b"x"))
    assert decoder.feed(whole + b"\x00\x00\x00\x01\x09" + whole) == [TokensFrame(1, 0, (5,), b"x")]
    assert decoder.fault is not None
