from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from services.worker.detokenizer import Detokenizers
from tests.fakes.tiny_tokenizer import ADDED, END, START, byte_level, sentencepiece

BYTES = byte_level()
WORDS = sentencepiece()
KINDS = pytest.mark.parametrize("tokenizer", [BYTES, WORDS], ids=["byte_level", "sentencepiece"])

byte_ids = st.lists(st.integers(0, BYTES.get_vocab_size() + 5), max_size=60)
word_ids = st.lists(st.integers(0, WORDS.get_vocab_size() + 5), max_size=60)
texts = st.text(
    st.one_of(
        st.characters(codec="utf-8"), st.sampled_from("the world abc.é你好😀👨‍👩‍👧\ufffd \u2581")
    ),
    max_size=30,
)


def pieces(tokenizer: Tokenizer, ids: list[int]) -> list[str]:
    detokenizer = Detokenizers(tokenizer).new()
    return [*(detokenizer.feed(token_id) for token_id in ids), detokenizer.flush()]


def encode(tokenizer: Tokenizer, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False).ids


@settings(deadline=None)
@given(byte_ids)
def test_byte_level_pieces_join_to_what_decode_gives(ids):
    assert "".join(pieces(BYTES, ids)) == BYTES.decode(ids, skip_special_tokens=True)


@settings(deadline=None)
@given(texts)
def test_text_comes_back_and_no_piece_is_broken(text):
    for tokenizer in (BYTES, WORDS):
        got = pieces(tokenizer, encode(tokenizer, text))
        assert "".join(got) == tokenizer.decode(encode(tokenizer, text), skip_special_tokens=True)
        assert sum(piece.count("\ufffd") for piece in got) == text.count("\ufffd")


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["▁", "▁the", "▁world", "a", ".", "é", "\ufffd", END]), max_size=30)
)
@example(["▁the", END, "▁world"])
def test_sentencepiece_pieces_join_to_what_decode_gives(tokens):
    ids = [WORDS.token_to_id(token) for token in tokens]
    assert "".join(pieces(WORDS, ids)) == WORDS.decode(ids, skip_special_tokens=True)


@settings(deadline=None)
@given(word_ids)
def test_broken_bytes_cost_no_more_than_a_character_and_the_window_stays_short(ids):
    detokenizer = Detokenizers(WORDS).new()
    for token_id in ids:
        detokenizer.feed(token_id)
        assert len(detokenizer._window) <= 8
    # What follows broken bytes is whole again.
    detokenizer.feed(WORDS.token_to_id("a"))
    after = [detokenizer.feed(token_id) for token_id in encode(WORDS, "😀")[1:]]
    assert [*after[:3], after[3]] == ["", "", "", "😀"]


@KINDS
def test_an_emoji_arrives_whole_with_its_last_token(tokenizer):
    got = pieces(tokenizer, encode(tokenizer, "a😀b"))
    assert "😀" in got
    assert not any("\ufffd" in piece for piece in got)


@KINDS
def test_a_genuine_replacement_character_survives(tokenizer):
    assert "".join(pieces(tokenizer, encode(tokenizer, "a\ufffdb\ufffd"))) == "a\ufffdb\ufffd"


@KINDS
def test_bytes_that_never_become_a_character_are_flushed_as_decode_shows_them(tokenizer):
    ids = encode(tokenizer, "a😀")[:-2]
    got = pieces(tokenizer, ids)
    assert got[-1].startswith("\ufffd")
    assert "".join(got) == tokenizer.decode(ids, skip_special_tokens=True)


@KINDS
def test_special_tokens_are_not_shown(tokenizer):
    start, end = tokenizer.token_to_id(START), tokenizer.token_to_id(END)
    ids = [start, *encode(tokenizer, "the world"), end]
    assert "".join(pieces(tokenizer, ids)) == "the world"


def test_added_tokens_that_are_not_special_are_shown_as_they_are():
    ids = [BYTES.token_to_id(text) for text in ADDED]
    assert "".join(pieces(BYTES, ids)) == "wörld x<tool>"


def test_the_first_space_is_stripped_and_no_other():
    got = pieces(WORDS, encode(WORDS, "the  world the"))
    assert "".join(got) == "the  world the"
    assert got[0] in {"", "t"}


def test_token_ids_beyond_the_tokenizer_give_nothing():
    assert "".join(pieces(BYTES, [BYTES.get_vocab_size() + 40])) == ""
