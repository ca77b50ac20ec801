"""Metrics without a judge: as sacrebleu and rouge-score have them, and right for every script."""

from typing import get_args

import numpy as np
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from services.evaluator.analysis.answers import answer_metrics
from services.evaluator.analysis.bootstrap import Bootstrap
from services.evaluator.analysis.rows import AnswerRow
from services.evaluator.analysis.variety import self_bleu
from services.evaluator.analysis.words import language_of, units
from shared.protocol.evals.spec import Metric

BOOTSTRAP = Bootstrap(0, 100)
ALL = get_args(Metric)
ENGLISH = [
    ("The cat sat on the mat near the door.", "The cat sat on a mat by the door."),
    ("Water boils at one hundred degrees.", "Water boils at a hundred degrees Celsius."),
    ("Bees make honey from nectar all summer.", "Bees make honey from nectar all summer."),
]
CHINESE = [
    ("北京是中国的首都人口很多。", "北京是中华人民共和国的首都人口很多。"),
    ("水在一百度时沸腾。", "水在一百摄氏度沸腾。"),
]
JAPANESE = [("東京は日本の首都です。", "東京は日本国の首都です。")]


def values_of(pairs, language, metrics=ALL):
    rows = [
        AnswerRow(str(place), None, language, "a", text, (reference,))
        for place, (text, reference) in enumerate(pairs)
    ]
    (found,), notes = answer_metrics(rows, ["a"], metrics, BOOTSTRAP)
    return found.values, notes


def test_corpus_scores_are_sacrebleus():
    values, notes = values_of(ENGLISH, "en")
    texts, references = [text for text, _ in ENGLISH], [[reference for _, reference in ENGLISH]]
    assert values["bleu"].value == pytest.approx(sacrebleu.corpus_bleu(texts, references).score)
    assert values["chrf"].value == pytest.approx(sacrebleu.corpus_chrf(texts, references).score)
    ter = sacrebleu.corpus_ter(texts, references, normalized=True, asian_support=True).score
    assert values["ter"].value == pytest.approx(ter)
    assert values["exact_match"].value == pytest.approx(1 / 3)
    for name in ("bleu", "chrf", "ter", "rouge1"):
        assert values[name].n == 3
        assert values[name].interval.low <= values[name].value <= values[name].interval.high
    assert notes == []


def test_chinese_is_read_by_characters():
    values, notes = values_of(CHINESE, "zh-CN")
    texts, references = [text for text, _ in CHINESE], [[reference for _, reference in CHINESE]]
    expected = sacrebleu.corpus_bleu(texts, references, tokenize="zh").score
    assert values["bleu"].value == pytest.approx(expected)
    assert values["bleu"].value > 40
    assert values["rouge1"].value > 0.7
    assert values["rouge2"].value > 0.5
    assert notes == []


@pytest.mark.parametrize("language", ["ja", None])
def test_japanese_without_its_tokeniser_is_read_by_characters_and_that_is_said(language):
    values, notes = values_of(JAPANESE, language)
    assert values["bleu"].value > 40
    assert values["rougeL"].value > 0.8
    assert [note.code for note in notes] == ["tokenizer_missing"]
    assert "ja-mecab" in notes[0].text


def test_rouge_of_english_is_rouge_scores_own():
    values, _ = values_of(ENGLISH, "en", ("rouge",))
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"])
    for name in ("rouge1", "rouge2", "rougeL"):
        expected = np.mean([scorer.score(b, a)[name].fmeasure for a, b in ENGLISH])
        assert values[name].value == pytest.approx(expected)


def test_the_best_of_several_references_counts_and_questions_without_any_do_not():
    rows = [
        AnswerRow("1", None, "en", "a", "Paris is the capital", ("London", "Paris is the capital")),
        AnswerRow("2", None, "en", "a", "I do not know", ()),
    ]
    (found,), _ = answer_metrics(rows, ["a"], ALL, BOOTSTRAP)
    assert found.answers == 2
    for name, best in (("bleu", 100), ("chrf", 100), ("ter", 0), ("rougeL", 1), ("exact_match", 1)):
        assert (found.values[name].value, found.values[name].n) == (pytest.approx(best), 1)


def test_without_references_there_are_no_values():
    (found,), _ = answer_metrics([AnswerRow("1", None, None, "a", "x")], ["a"], ALL, BOOTSTRAP)
    for name in ("bleu", "chrf", "ter", "rouge1", "exact_match", "self_bleu"):
        assert found.values[name].value is None


def test_texts_that_would_take_too_long_are_left_out_and_that_is_told():
    rows = [
        AnswerRow("1", None, "en", "a", "word " * 200, ("word " * 200,)),
        AnswerRow("2", None, "en", "a", "word " * 201, ("word",)),
        AnswerRow("3", None, "en", "a", "word", ("word", "word " * 2001)),
    ]
    (found,), notes = answer_metrics(rows, ["a"], ("ter", "rouge", "bleu"), BOOTSTRAP)
    assert (found.values["ter"].n, found.values["rouge1"].n, found.values["bleu"].n) == (1, 2, 3)
    assert [(note.code, note.text[:28]) for note in notes] == [
        ("answers_too_long", "2 of 3 answers are not in te"),
        ("answers_too_long", "1 of 3 answers are not in ro"),
    ]


def test_candidates_and_languages_are_counted_apart():
    rows = [
        AnswerRow("1", None, language, name, name * size)
        for name, size in (("b", 2), ("a", 4))
        for language in ("zh", "en")
    ]
    found, _ = answer_metrics(rows, ["b", "a"], (), BOOTSTRAP)
    assert [(each.candidate, each.language, each.values["length"].value) for each in found] == [
        ("b", "en", 2),
        ("b", "zh", 2),
        ("a", "en", 4),
        ("a", "zh", 4),
    ]


def test_distinct_counts_different_n_grams():
    rows = [AnswerRow(str(q), None, "en", "a", text) for q, text in enumerate(["a b a", "a b"])]
    (found,), _ = answer_metrics(rows, ["a"], ("distinct_n",), BOOTSTRAP)
    assert found.values["distinct_1"].value == pytest.approx(2 / 5)
    assert found.values["distinct_2"].value == pytest.approx(2 / 3)


texts = st.lists(st.lists(st.sampled_from("abcd"), max_size=9), min_size=2, max_size=6)


@settings(deadline=None)
@given(texts)
def test_self_bleu_is_sacrebleus_against_all_others(split):
    written = [" ".join(words) for words in split]
    scores = [
        sacrebleu.sentence_bleu(text, written[:place] + written[place + 1 :]).score
        for place, text in enumerate(written)
    ]
    assert self_bleu(written, BOOTSTRAP).value == pytest.approx(np.mean(scores), abs=1e-6)


def test_many_texts_are_sampled_evenly():
    assert self_bleu([f"word{number} of many" for number in range(2500)], BOOTSTRAP).n == 834


def test_units_are_words_and_characters_of_scripts_without_spaces():
    assert units("Hello, WORLD 42!") == ["hello", "world", "42"]
    assert units("東京はTokyo") == ["東", "京", "は", "tokyo"]
    assert units("안녕 세계") == ["안녕", "세계"]
    assert units("Привет, мир") == ["привет", "мир"]


def test_a_language_without_a_tag_is_told_by_its_script():
    assert language_of("zh_TW", []) == "zh"
    assert language_of(None, ["你好世界"]) == "zh"
    assert language_of(None, ["日本語です"]) == "ja"
    assert language_of(None, ["한국어입니다"]) == "ko"
    assert language_of(None, ["English with 一 sign", "more"]) == ""
    assert language_of(None, []) == ""


@pytest.mark.parametrize("tag", ["Chinese", "cmn", "yue-HK", "zho", "zh_CN", "mixed", None])
def test_no_name_of_a_language_makes_chinese_one_word(tag):
    values, _ = values_of([("我用Python写code，很好用。",) * 2, *CHINESE], tag, ("bleu",))  # noqa: RUF001
    assert values["bleu"].value > 40
