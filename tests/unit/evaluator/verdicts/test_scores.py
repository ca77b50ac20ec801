"""Scores are read in the forms that judges use, and never guessed."""

# ruff: noqa: RUF001 - such characters are what judges write

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.evaluator.judging.verdicts import ScoreRule, parse_scores, read_scores

PAIRS = {
    "8 9": [8, 9],
    "Both are good.\n\n8 9": [8, 9],
    "Scores: 8 9": [8, 9],
    "Scores: 8.5 9.0": [8.5, 9],
    "10 10": [10, 10],
    "8 9\n": [8, 9],
    "Assistant 1: 8 points / Assistant 2: 9 points": [8, 9],
    "Assistant 1: 8 / Assistant 2: 9 / Assistant 1 is fine overall": [8, 9],
    "Assistant 1: 8 points\nAssistant 2: 9 points": [8, 9],
    "8 9\nThe first answer is shorter, the second one names 2 sources.": [8, 9],
    "8, 9": [8, 9],
    "8,9": [8, 9],
    "8  9": [8, 9],
    "Assistant 1: 8\nAssistant 2: 9": [8, 9],
    "Assistant 1: 8/10\nAssistant 2: 9/10": [8, 9],
    "Assistant 1: 8 Assistant 2: 9.": [8, 9],
    "Scores: 8, 9.": [8, 9],
    "Assistant 1 Score: 8\nAssistant 2 Score: 9": [8, 9],
    "**8 9**": [8, 9],
    '{"scores":[8,9]}': [8, 9],
    '```json\n{"scores": [8, 9]}\n```': [8, 9],
    "Assistant 1: 8.\nAssistant 2: 9.\nReasons follow.": [8, 9],
    "Assistant A: 8\nAssistant B: 9": [8, 9],
    "助手1：８ 分\n助手2：９ 分": [8, 9],
    "Scores: [8, 9]": [8, 9],
}
SINGLES = {
    "Clear and right.\nScore: 8": 8,
    "**Score:** 8/10": 8,
    "Final score: 8 out of 10.": 8,
    "Score: 8\nIt is short and right.": 8,
    "Rating: [[8]]": 8,
    "[RESULT] 8": 8,
    '{"reason": "right", "score": 8}': 8,
    "A first thought.\nScore: 5\nOn second thought:\nScore: 8": 8,
    "The score is 8.": 8,
    "评分：8": 8,
}
UNDECODED = {
    ("The answer cites 2 3", 2): ScoreRule.NO_SCORE,
    ("In 1999 2000", 2): ScoreRule.NO_SCORE,
    ("-1 9", 2): ScoreRule.OUT_OF_RANGE,
    ("8 9 7", 2): ScoreRule.WRONG_COUNT,
    ("8.5. 9", 2): ScoreRule.NO_SCORE,
    ("", 1): ScoreRule.NO_SCORE,
    ("Score: N", 1): ScoreRule.NO_SCORE,
    ("Score: 11", 1): ScoreRule.OUT_OF_RANGE,
    ("Score: 7-8", 1): ScoreRule.UNREADABLE,
    ("Score: 9\nScore: 7-8", 1): ScoreRule.UNREADABLE,
    ("Score: 4/5", 1): ScoreRule.UNREADABLE,
    ("Score: 8 9", 1): ScoreRule.WRONG_COUNT,
    ("8,9", 1): ScoreRule.WRONG_COUNT,
    ("Score: 8\nScore: 3\nTake your pick.", 1): ScoreRule.CONTRADICTORY,
    ("I would give it an 8", 1): ScoreRule.NO_SCORE,
    ("It has\n8\nparts in all.", 1): ScoreRule.NO_SCORE,
    ('{"score": "8 or 9"}', 1): ScoreRule.UNREADABLE,
    ('{"score": true}', 1): ScoreRule.UNREADABLE,
    ('{"score": 80}', 1): ScoreRule.OUT_OF_RANGE,
    ("8*9", 2): ScoreRule.NO_SCORE,
    ("8 / 9", 2): ScoreRule.NO_SCORE,
    ("Assistant 1: 8", 2): ScoreRule.WRONG_COUNT,
    ("Assistant 1: 3 facts are wrong.", 1): ScoreRule.NO_SCORE,
    ("Assistant 1: 8\nAssistant 2: 9\nAssistant 1: 4", 2): ScoreRule.CONTRADICTORY,
    ("Assistant 2: 8\nAssistant 3: 9", 2): ScoreRule.WRONG_COUNT,
}

MORE = [
    ("Assistant 1: 8 - clear.\nAssistant 2: 9 - clearer.", 2, [8, 9]),
    ("Final scores: Assistant 1: 8, Assistant 2: 9", 2, [8, 9]),
    ("Assistant 1 gets 8 and Assistant 2 gets 9.", 2, [8, 9]),
    ("| Assistant | Score |\n|---|---|\n| Assistant 1 | 8 |\n| Assistant 2 | 9 |", 2, [8, 9]),
    ("Assistant 1:8\nAssistant 2:9", 2, [8, 9]),
    ("**Assistant 1**: 8/10\n**Assistant 2**: 9/10", 2, [8, 9]),
    ("- Assistant 1: 8\n- Assistant 2: 9", 2, [8, 9]),
    ("Assistant 1 (8/10), Assistant 2 (9/10)", 2, [8, 9]),
    ("助手1：8分，助手2：9分", 2, [8, 9]),
    ("評分：8", 1, None),
    ("得分：8", 1, [8]),
    ("[[8]]", 1, [8]),
    ("\\boxed{8}", 1, [8]),
    ("Score: eight", 1, [8]),
    ("<think>Score: 3</think>\nScore: 8", 1, [8]),
    ("<think>Score: 3", 1, None),
    ('{"assistant_1": 8, "assistant_2": 9}', 2, [8, 9]),
    ('{"scores": {"Assistant 1": 8, "Assistant 2": 9}}', 2, [8, 9]),
    ('Here: ```json\n{"scores": [8, 9]}\n```', 2, [8, 9]),
    ("Assistant 1 provides 3 examples. Assistant 2 provides 5 examples.", 2, None),
    ("Scores: 8 and 9", 2, [8, 9]),
    ("Overall: 8", 1, [8]),
    ("8/10", 1, [8]),
    ("8*9", 1, None),
    ("1*0", 1, None),
    ("Assistant 1: 11\nAssistant 2: 9", 2, None),
    ("Assistant 1: 8\nAssistant 3: 9", 2, None),
    (
        "Helpfulness: Assistant 1: 5, Assistant 2: 6\nOverall: Assistant 1: 7, Assistant 2: 8",
        2,
        [7, 8],
    ),
    ("Score: 8\n\nScore: 9", 1, [9]),
    ("The score of 3 in the answer. Score: 8", 1, None),
    ("Rating: 4 out of 5", 1, None),
    ("Score: 7.", 1, [7]),
    ("Assistant 2: 9\nAssistant 1: 8", 2, [8, 9]),
    ("Score: -3", 1, None),
    ("10", 1, [10]),
    ("Assistant A: 8, Assistant B: 9", 2, [8, 9]),
    ("Score (0-10): 8", 1, [8]),
    ("Score: 8 (out of 10)", 1, [8]),
    ("I rate it 8/10.", 1, None),
    ("Assistant 1: **8**\nAssistant 2: **9**", 2, [8, 9]),
    ("Assistant 1: 8; Assistant 2: 9", 2, [8, 9]),
    ("Assistant 1 - 8\nAssistant 2 - 9", 2, [8, 9]),
    ("Assistant 1's score: 8\nAssistant 2's score: 9", 2, [8, 9]),
    ("Score for Assistant 1: 8\nScore for Assistant 2: 9", 2, [8, 9]),
    ("[8, 9]", 2, [8, 9]),
    ("(8, 9)", 2, [8, 9]),
    ("Scores: (8, 9)", 2, [8, 9]),
    ("1. Assistant 1: 8\n2. Assistant 2: 9", 2, [8, 9]),
    ("1: 8\n2: 9", 2, None),
    ("A: 8\nB: 9", 2, [8, 9]),
    ("8\n9", 2, [8, 9]),
    ("The final scores are 8 and 9.", 2, [8, 9]),
    ("Score 8", 1, [8]),
    ("Score: **8**/10", 1, [8]),
    ("8 9 7", 3, [8, 9, 7]),
    ("Score: 8 or 9", 1, None),
    ("Score: not 8", 1, None),
    ("If it were shorter, Score: 8", 1, None),
    ("8.5. 9", 2, None),
    ("8..5 9", 2, None),
]
WORDED = [
    ("7 8", 2, [7, 8]),
    ("7, 8\n\nBoth answer the question.", 2, [7, 8]),
    ("Scores: 7 and 8", 2, [7, 8]),
    ("**Assistant 1:** 7/10\n**Assistant 2:** 8/10", 2, [7, 8]),
    ("Assistant 1 gets a score of 7, and Assistant 2 gets a score of 8.", 2, [7, 8]),
    ("Assistant 1 - 7\nAssistant 2 - 8", 2, [7, 8]),
    ("Assistant 1 = 7, Assistant 2 = 8", 2, [7, 8]),
    ("Assistant 1 scores 7 and Assistant 2 scores 8.", 2, [7, 8]),
    ("Final scores: Assistant 1: 7, Assistant 2: 8", 2, [7, 8]),
    ('```json\n{"scores": [7, 8], "reason": "short"}\n```', 2, [7, 8]),
    ("Rating: [[7]] [[8]]", 2, [7, 8]),
    ("Score: 7", 1, [7]),
    ("The answer is correct but short.\n\n7", 1, [7]),
    ("Overall rating: 7 out of 10", 1, [7]),
    ("Assistant 1: 7\nAssistant 2: 8\nAssistant 3: 9", 3, [7, 8, 9]),
    (
        "Assistant 1: 7 points\nAssistant 2: 8 points\nAssistant 3: 9 points\nAssistant 4: 10 points",
        4,
        [7, 8, 9, 10],
    ),
    ("| Assistant | Score |\n|---|---|\n| Assistant 1 | 7 |\n| Assistant 2 | 8 |", 2, [7, 8]),
    ("助手1: 7分\n助手2: 8分", 2, [7, 8]),
    ("The scores are 7 and 8.", 2, [7, 8]),
    ("Assistant 1 (Score: 7): clear.\nAssistant 2 (Score: 8): clearer.", 2, [7, 8]),
    ("I would give Assistant 1 a 7 and Assistant 2 an 8.", 2, [7, 8]),
]
NO_SCORES = [
    ("7", 2),
    ("7 8 9", 2),
    ("Between 7 and 8", 2),
    ("7 or 8", 2),
    ("7-8", 2),
    ("11 9", 2),
    ("-7 8", 2),
    ("Assistant 1: 7", 2),
    ("Assistant 1: 7\nAssistant 3: 8", 2),
    ("Assistant 1: 7\nAssistant 1: 8", 2),
    ("The answer lists 7 8 and 9.", 2),
    ("Chapter 7 8", 2),
    ("In 2019 2020", 2),
    ("7 8\n9 10", 2),
    ("7.8", 2),
    ("7/8", 2),
    ("7:8", 2),
    ("Score: good good", 2),
    ("Assistant 1: N/A, Assistant 2: 8", 2),
    ("Assistant 1: 7 or 8, Assistant 2: 9", 2),
    ("I cannot give scores.", 2),
    ("7 8", 1),
    ("Score: 12", 1),
    ("It gives 7 reasons.", 1),
    ("7 out of 20", 1),
    ("Score: 7 to 8", 1),
    ("Score: 7. No, score: 8.", 1),
    ("Is it a 7?", 1),
    ("7 8", 3),
    ("Assistant 1 gives 7 examples, Assistant 2 gives 8 examples.", 2),
    ("Assistant 1: 7 paragraphs\nAssistant 2: 8 paragraphs", 2),
    ("Assistant 1: 2 of 10 facts wrong, Assistant 2: 3 of 10 facts wrong", 2),
    ("Assistant 1: 7%\nAssistant 2: 8%", 2),
    ("Use the form: 7 8", 2),
    ("If I had to score: maybe 7 8?", 2),
]


@pytest.mark.parametrize(("text", "n", "scores"), WORDED)
def test_scores_in_words(text, n, scores):
    assert parse_scores(text, n) == scores


@pytest.mark.parametrize(("text", "n"), NO_SCORES)
def test_numbers_that_are_no_scores(text, n):
    assert parse_scores(text, n) is None


@pytest.mark.parametrize(("text", "n", "scores"), MORE)
def test_more_forms(text, n, scores):
    assert parse_scores(text, n) == scores


@pytest.mark.parametrize(("text", "scores"), PAIRS.items())
def test_forms_of_two_scores(text, scores):
    assert parse_scores(text, 2) == scores


@pytest.mark.parametrize(("text", "score"), SINGLES.items())
def test_forms_of_one_score(text, score):
    assert parse_scores(text, 1) == [score]


def test_four_scores():
    assert parse_scores("8 9 7 6", 4) == [8, 9, 7, 6]


@pytest.mark.parametrize(("case", "rule"), UNDECODED.items())
def test_without_a_single_reading_a_text_stays_undecoded(case, rule):
    text, count = case
    reading = read_scores(text, count)
    assert (reading.scores, reading.rule) == (None, rule)


def test_the_scale_is_the_one_asked_for():
    assert parse_scores("Score: 4/5", 1, low=1, high=5) == [4]
    assert parse_scores("Score: 0", 1, low=1) is None


@given(st.text(), st.integers(1, 6))
def test_any_text_gives_scores_in_range_or_none(text, count):
    scores = parse_scores(text, count)
    assert scores is None or (len(scores) == count and all(0 <= s <= 10 for s in scores))


SCORE_CHARACTERS = st.text(alphabet="0123456789.,:/-*[]{}\" \nAssistant1Scoreo10'", max_size=60)


@given(SCORE_CHARACTERS, st.integers(1, 3))
def test_texts_made_of_score_pieces_give_scores_in_range_or_none(text, count):
    scores = parse_scores(text, count, low=1)
    assert scores is None or (len(scores) == count and all(1 <= s <= 10 for s in scores))


@given(
    SCORE_CHARACTERS,
    st.lists(st.integers(0, 20).map(lambda half: half / 2), min_size=1, max_size=26),
)
def test_the_last_line_in_the_form_asked_for_decides(prose, scores):
    line = "Scores: " + " ".join(f"{score:g}" for score in scores)
    assert parse_scores(f"{prose}\n{line}", len(scores)) == scores
