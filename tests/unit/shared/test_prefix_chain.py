"""The chain of a request's beginning: equal as far as requests are, and no further."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.protocol.prefix_chain import BLOCK_BYTES, MAX_BLOCKS, chain_of, pack, unpack

turns = st.lists(
    st.tuples(st.sampled_from(["system", "user", "assistant"]), st.text(max_size=700)), max_size=6
)


def chat(pairs):
    return {"messages": [{"role": role, "content": text} for role, text in pairs]}


def shared(one, other):
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


@given(turns, turns)
def test_a_longer_conversation_begins_with_the_chain_of_the_shorter(before, after):
    short, long = chain_of(chat(before)), chain_of(chat(before + after))
    assert long[: len(short)] == short


@given(turns, st.integers(0, 5), st.characters())
def test_chains_part_at_the_block_that_differs(pairs, turn, letter):
    whole = b"".join(f"{role}\0{text}\0".encode(errors="replace") for role, text in pairs)
    if turn >= len(pairs) or pairs[turn][1][:1] == letter:
        return
    changed = list(pairs)
    changed[turn] = (pairs[turn][0], letter + pairs[turn][1])
    other = b"".join(f"{role}\0{text}\0".encode(errors="replace") for role, text in changed)
    same_bytes = shared(whole, other)
    assert shared(chain_of(chat(pairs)), chain_of(chat(changed))) == same_bytes // BLOCK_BYTES


def test_text_parts_count_as_the_text_they_are():
    text = "long enough " * 60
    parts = [{"type": "text", "text": text[:100]}, {"type": "text", "text": text[100:]}]
    whole = {"messages": [{"role": "user", "content": text}]}
    assert chain_of({"messages": [{"role": "user", "content": parts}]}) == chain_of(whole)
    assert len(chain_of(whole)) == len(text) // BLOCK_BYTES


def test_a_prompt_is_no_message_and_ids_are_told_from_text():
    text = "x" * 1000
    assert shared(chain_of({"prompt": text}), chain_of(chat([("", text)]))) == 0
    assert chain_of({"prompt": [text, "another"]}) == chain_of({"prompt": text})
    ids = list(range(500))
    assert shared(chain_of({"prompt": ids}), chain_of({"prompt": [*ids, 7]})) > 0


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"messages": None},
        {"messages": [None, 3, {"content": 5}, {"role": [], "content": [None, {"text": 7}]}]},
        {"prompt": [[1, 2], [3]]},
        {"prompt": {}},
        {"messages": [{"role": "user", "content": "\ud800" * 300}]},
    ],
)
def test_what_is_no_request_is_not_refused_here(odd):
    assert all(0 <= number < 2**32 for number in chain_of(odd))


def test_the_chain_is_bounded():
    assert len(chain_of({"prompt": "y" * (MAX_BLOCKS + 9) * BLOCK_BYTES})) == MAX_BLOCKS


@given(st.frozensets(st.integers(0, 2**32 - 1)))
def test_packed_numbers_come_back(numbers):
    assert unpack(pack(numbers)) == numbers


@pytest.mark.parametrize("text", ["?", "AAA", "AAAA", "é"])
def test_what_was_not_packed_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011 - binascii's and array's are of this type
        unpack(text)
