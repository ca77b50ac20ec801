from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.controller.relay.ledger import Ledger
from services.controller.relay.loss import MalformedFrames
from shared.errors import UpstreamFailed
from shared.protocol.frames import LedgerFrame, TokensFrame

token_ids = st.lists(st.integers(0, 2**32 - 1), max_size=5).map(tuple)
frame_contents = st.lists(st.tuples(st.integers(0, 3), token_ids), max_size=40)


def numbered(contents):
    return [TokensFrame(n, choice, ids, b"") for n, (choice, ids) in enumerate(contents, 1)]


@given(frame_contents, st.data())
def test_repeats_change_nothing(contents, data):
    frames = numbered(contents)
    ledger = Ledger()
    for place, frame in enumerate(frames):
        assert ledger.record(frame)
        for repeat in data.draw(st.lists(st.sampled_from(frames[: place + 1]), max_size=3)):
            assert not ledger.record(repeat)

    assert ledger.last_sequence_number == len(frames)
    assert ledger.total == sum(len(ids) for _, ids in contents)
    for choice in range(4):
        expected = [i for c, ids in contents if c == choice for i in ids]
        assert ledger.token_ids(choice) == expected


@given(frame_contents, st.integers(2, 1000))
def test_a_gap_is_a_fault_and_enters_nothing(contents, jump):
    ledger = Ledger()
    for frame in numbered(contents):
        ledger.record(frame)
    before = (ledger.last_sequence_number, ledger.total)

    with pytest.raises(UpstreamFailed):
        ledger.record(TokensFrame(len(contents) + jump, 0, (1,), b""))

    assert (ledger.last_sequence_number, ledger.total) == before


def test_numbers_begin_at_one():
    with pytest.raises(UpstreamFailed):
        Ledger().record(TokensFrame(0, 0, (1,), b""))


def test_it_is_bounded():
    ledger = Ledger(max_tokens=3)
    ledger.record(TokensFrame(1, 0, (1, 2, 3), b""))

    with pytest.raises(UpstreamFailed):
        ledger.record(TokensFrame(2, 0, (4,), b""))


@pytest.mark.parametrize("ids", [[[1.5]], [["a"]], [[-1]], [7], 7])
def test_an_account_without_token_ids_is_malformed(ids):
    with pytest.raises(MalformedFrames):
        Ledger().begin(LedgerFrame(1, ids))


def test_a_token_of_no_choice_is_a_fault_and_changes_nothing():
    ledger = Ledger(choices=2)
    ledger.record(TokensFrame(1, 1, (5,), b""))
    with pytest.raises(MalformedFrames, match="choice 2 of 2"):
        ledger.record(TokensFrame(2, 2, (6,), b""))
    assert (ledger.last_sequence_number, ledger.total) == (1, 1)
    assert ledger.choices(2) == [[], [5]]
