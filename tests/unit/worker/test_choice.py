"""A choice's text and logprobs agree, however tokens, characters and stop strings lie."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.worker.choice import Choice
from services.worker.detokenizer import Detokenizers
from services.worker.engine.engine import StepOutput
from services.worker.engine.sequence import FinishReason, SamplingParams, TokenLogprobs
from tests.fakes.tiny_tokenizer import END, byte_level, sentencepiece

BYTES, WORDS = byte_level(), sentencepiece()
PIECES = {id(tokenizer): Detokenizers(tokenizer) for tokenizer in (BYTES, WORDS)}
EOS = BYTES.token_to_id(END)

texts = st.text(st.sampled_from("the ab😀你é"), max_size=24)
stops_of_few_letters = st.lists(st.text("ab 😀é", min_size=1, max_size=3), max_size=3)
cuts = st.lists(st.integers(1, 4), min_size=1, max_size=40)


def ids_of(tokenizer, text):
    return tokenizer.encode(text, add_special_tokens=False).ids


def play(tokenizer, ids, *, stops=(), end=FinishReason.LENGTH, at_once=(1,), **params):
    """Feed ids, each with its place as its logprob; return the choice and its deltas."""
    asked = SamplingParams(**({"max_tokens": 99, "seed": 0, "logprobs": 0} | params))
    choice = Choice(0, asked, PIECES[id(tokenizer)], tuple(stops))
    outputs = [
        StepOutput("r", 0, token, end if i == len(ids) - 1 else None, TokenLogprobs(-i, ()))
        for i, token in enumerate(ids)
    ]
    deltas, sizes = [], iter(at_once * len(ids))
    while outputs and not (deltas and deltas[-1].finish_reason):
        size = next(sizes)
        deltas.append(choice.take(outputs[:size]))
        outputs = outputs[size:]
    return choice, deltas


def spelled(entries):
    return b"".join(entry.token.bytes or b"" for entry in entries)


@settings(deadline=None)
@given(texts, stops_of_few_letters, cuts)
@example("a😀b", ["😀"], [1])
@example("ab", ["ab"], [1])
def test_the_entries_are_the_tokens_of_the_text_and_none_beyond(text, stops, at_once):
    choice, deltas = play(BYTES, ids_of(BYTES, text) or [0], stops=stops, at_once=at_once)
    whole = choice.ended()
    assert "".join(delta.text for delta in deltas) == whole.text
    assert tuple(entry for delta in deltas for entry in delta.logprobs) == whole.logprobs
    # From the first token on, none left out.
    assert [entry.token.logprob for entry in whole.logprobs] == [
        -i for i in range(len(whole.logprobs))
    ]
    told = spelled(whole.logprobs)
    assert told.startswith(whole.text.encode())
    if whole.finish_reason == "length":
        assert told.decode() == whole.text
    else:
        # The last one holds text that is shown, and may hold some that is cut off.
        assert not whole.logprobs or len(spelled(whole.logprobs[:-1])) < len(whole.text.encode())


@settings(deadline=None)
@given(texts, stops_of_few_letters, cuts)
def test_an_entry_comes_with_the_text_that_its_token_begins(text, stops, at_once):
    _, deltas = play(BYTES, ids_of(BYTES, text) or [0], stops=stops, at_once=at_once)
    begin = 0
    for delta in deltas:
        places = [entry.offset for entry in delta.logprobs]
        assert all(begin <= place < begin + len(delta.text) for place in places)
        begin += len(delta.text)


@settings(deadline=None)
@given(st.lists(st.integers(0, BYTES.get_vocab_size() + 2), min_size=1, max_size=30))
def test_no_entry_is_lost_whatever_the_tokens_are(ids):
    whole = play(BYTES, ids)[0].ended()
    assert len(whole.logprobs) == len(ids)
    assert spelled(whole.logprobs).decode(errors="replace") == whole.text
    places = [entry.offset for entry in whole.logprobs]
    assert places == sorted(places)


@settings(deadline=None)
@given(texts)
def test_sentencepiece_tokens_spell_the_text_but_for_its_first_space(text):
    whole = play(WORDS, ids_of(WORDS, text) or [0])[0].ended()
    if text:
        assert spelled(whole.logprobs).decode().removeprefix(" ") == whole.text


@pytest.mark.parametrize("tokenizer", [BYTES, WORDS], ids=["byte_level", "sentencepiece"])
def test_the_tokens_of_a_character_have_its_bytes_and_come_together(tokenizer):
    _, deltas = play(tokenizer, ids_of(tokenizer, "a😀b"))
    at = next(i for i, delta in enumerate(deltas) if delta.text == "😀")
    entries = deltas[at].logprobs
    assert len(entries) > 1
    assert spelled(entries) == "😀".encode()
    assert {entry.offset for entry in entries} == {entries[0].offset}
    assert entries[0].token.text.startswith("bytes:\\xf0")


def test_tokens_after_broken_bytes_stand_where_they_are_shown():
    broken = ids_of(BYTES, "😀")[0]
    ids = [broken, *ids_of(BYTES, "ab")]
    whole = play(BYTES, ids)[0].ended()
    assert whole.text == "\ufffdab"
    assert [entry.offset for entry in whole.logprobs] == [0, 1, 2]
    assert len(play(BYTES, ids, stops=["a"])[0].ended().logprobs) == 1


def test_the_token_that_ends_a_turn_has_no_entry_and_a_special_one_within_has():
    ids = [*ids_of(BYTES, "ab"), EOS]
    assert len(play(BYTES, ids, end=FinishReason.STOP)[0].ended().logprobs) == 2
    whole = play(BYTES, [EOS, *ids])[0].ended()
    assert [(entry.token.text, entry.token.bytes) for entry in whole.logprobs] == [
        (END, None),
        ("a", b"a"),
        ("b", b"b"),
        (END, None),
    ]


def test_without_logprobs_asked_for_there_are_none():
    choice, deltas = play(BYTES, ids_of(BYTES, "ab"), logprobs=None)
    assert (choice.ended().logprobs, {delta.logprobs for delta in deltas}) == (None, {None})


def test_what_cannot_come_has_a_number_too():
    choice = Choice(0, SamplingParams(max_tokens=1, seed=0, logprobs=1), PIECES[id(BYTES)], ())
    told = TokenLogprobs(-0.5, ((1, -float("inf")),))
    (entry,) = choice.take([StepOutput("r", 0, 0, FinishReason.LENGTH, told)]).logprobs
    assert entry.top[0].logprob == -9999.0


@pytest.mark.parametrize(("min_tokens", "text"), [(0, ""), (1, "a"), (2, "aba"), (9, "abab")])
def test_no_stop_string_counts_within_the_least_length(min_tokens, text):
    stop = "ab" if min_tokens in {0, 9} else "ba" if min_tokens == 1 else "b"
    choice, _ = play(BYTES, ids_of(BYTES, "abab"), stops=[stop], min_tokens=min_tokens)
    assert choice.ended().text == text


def test_an_echo_comes_first_and_no_stop_string_is_looked_for_in_it():
    params = SamplingParams(max_tokens=9, seed=0)
    choice = Choice(0, params, PIECES[id(BYTES)], ("b",), "ab ")
    tokens = [StepOutput("r", 0, token, None) for token in ids_of(BYTES, "aab")]
    assert [choice.take([token]).text for token in tokens] == ["ab a", "a", ""]
    assert choice.ended().text == "ab aa"
