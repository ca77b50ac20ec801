"""Files of other projects, read in rows of our own making."""

from __future__ import annotations

import contextlib
import json
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.evaluator.importing.alpaca import annotation_of, win_rates
from services.evaluator.importing.files import (
    AnswersFile,
    Source,
    import_files,
    read_questions,
    read_reviews,
    unanswered,
)
from services.evaluator.importing.rows import Row, read_rows
from shared.errors import InvalidRequest, LLMZooError, MalformedFile
from shared.protocol.evals.spec import Mode

QUESTION = {
    "question_id": 7,
    "category": "math",
    "turns": ["1+1?", "Sure?"],
    "reference": ["2", "Yes"],
}
SINGLE = {
    "question_id": 7,
    "model": "m",
    "judge": ["big", "single-v1"],
    "judgment": "Rating: [[8]]",
    "score": 8,
    "turn": 1,
}
PAIR = {
    "question_id": 7,
    "model_1": "m",
    "model_2": "n",
    "g1_winner": "model_1",
    "g2_winner": "model_1",
    "judge": ["big", "pair-v2"],
    "g1_judgment": "[[A]]",
    "g2_judgment": "[[B]]",
    "turn": 1,
}
ANNOTATION = {
    "instruction": "Do it.",
    "output_1": "a",
    "output_2": "b",
    "generator_1": "base",
    "generator_2": "new",
    "annotator": "judge",
    "preference": 2.0,
    "dataset": "own",
}
LLMZOO = {
    "review_id": 1,
    "reviewer_id": "big",
    "lang": "en",
    "question_id": 7,
    "answer_ids": ["x", "y"],
    "category": "generic",
    "metadata": {"question": "1+1?", "answers": ["2", "3"], "model_ids": ["m", "n"]},
    "text": "Assistant 1 > Assistant 2",
    "order": [1, 2],
}


def answer(question_id, model, *turns):
    return {
        "question_id": question_id,
        "model_id": model,
        "choices": [{"index": 0, "turns": list(turns)}],
    }


@pytest.fixture
def written(tmp_path):
    def write(name, *rows):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows))
        return path

    return write


def test_single_judgments_of_fastchat_are_scores_by_turn(written):
    second = {**SINGLE, "turn": 2, "score": 6}
    unread = {**SINGLE, "model": "n", "score": -1, "judgment": "no rating"}
    found = import_files(
        Source.FASTCHAT,
        [
            written("question.jsonl", QUESTION),
            written("answer/m.jsonl", answer(7, "m", "2", "Yes")),
            written("judgment.jsonl", SINGLE, second, unread),
        ],
    )
    assert found.mode is Mode.SCORING
    assert [rubric.name for rubric in found.dimensions] == ["turn-1", "turn-2"]
    assert [(r.dimension, r.lineup, r.scores) for r in found.reviews] == [
        ("turn-1", ["m"], [8.0]),
        ("turn-2", ["m"], [6.0]),
        ("turn-1", ["n"], None),
    ]
    assert found.reviews[2].text == "no rating"
    assert found.judges == ["big"]
    assert found.questions["7"].references == ["2", "Yes"]
    assert found.answers["m"]["7"].turns == ["2", "Yes"]
    assert found.told() == ["reviews without a verdict, their text is read again: 1"]


@pytest.mark.parametrize(
    ("told", "references"),
    [(["2", None], ["2"]), ([None, None], None), ([], None), (None, None), ("2", ["2"])],
)
def test_a_turn_without_a_reference(written, told, references):
    question = {**QUESTION, "reference": told}
    [found] = read_questions(written("question.jsonl", question))
    assert found.references == references


def test_a_reference_that_is_no_text_is_a_fault(written):
    with pytest.raises(MalformedFile, match="reference"):
        read_questions(written("question.jsonl", {**QUESTION, "reference": [3]}))
    with pytest.raises(MalformedFile, match="reference"):
        read_questions(written("question.jsonl", {**QUESTION, "reference": {}}))


@pytest.mark.parametrize(
    ("winners", "ranks"),
    [
        (("model_1", "model_2"), ([1, 2], [1, 2])),
        (("model_1", "model_1"), ([1, 2], [2, 1])),
        (("tie", "model_2"), ([1, 1], [1, 2])),
        (("error", "tie"), (None, [1, 1])),
    ],
)
def test_pairs_of_fastchat_are_two_reviews_in_both_orders(written, winners, ranks):
    row = {**PAIR, "g1_winner": winners[0], "g2_winner": winners[1]}
    found = import_files(
        Source.FASTCHAT, [written("question.jsonl", QUESTION), written("judgment.jsonl", row)]
    )
    assert [review.lineup for review in found.reviews] == [["m", "n"], ["n", "m"]]
    assert tuple(review.ranks for review in found.reviews) == ranks
    assert found.mode is Mode.PAIRWISE
    assert found.models == ["m", "n"]


def test_what_fastchat_failed_at_is_told(written):
    found = import_files(
        Source.FASTCHAT,
        [
            written("question.jsonl", QUESTION, {**QUESTION, "question_id": 8}),
            written(
                "answers.jsonl",
                answer(7, "m", "2", "Yes"),
                answer(8, "m", "$ERROR$", "$ERROR$"),
                answer(7, "n", "3", "No"),
                answer(7, "n", "2", "No"),
                answer(8, "n", "2", "No"),
            ),
        ],
    )
    assert sorted(found.told()) == [
        "answers given twice, the last one is taken: 1",
        "answers that failed when they were asked for, left out: 1",
    ]
    assert found.answers["n"]["7"].turns == ["2", "No"]
    assert list(unanswered(found)) == ["8"]


def test_judgments_that_stand_twice_are_repeats(written):
    path = written("judgment.jsonl", SINGLE, {**SINGLE, "score": 7}, {**SINGLE, "turn": 2})
    assert [review.repeat for review in read_reviews(path)] == [0, 1, 0]


def test_a_folder_is_read_whole(written, tmp_path):
    written("bench/question.jsonl", QUESTION)
    written("bench/deep/m.jsonl", answer(7, "m", "2", "Yes"))
    (tmp_path / "bench" / "notes.txt").write_text("none of them")
    assert import_files(Source.FASTCHAT, [tmp_path / "bench"]).models == ["m"]


def test_questions_that_are_missing_are_told(written):
    with pytest.raises(InvalidRequest, match=r"1 questions are not in these files \(7\)"):
        import_files(Source.FASTCHAT, [written("judgment.jsonl", SINGLE)])


def test_annotations_of_alpacaeval_are_pairs(written):
    rows = [
        {**ANNOTATION, "instruction": f"Do {n}.", "preference": preference, "raw_completion": "m"}
        for n, preference in enumerate([1, 2, 1.5, 0, 1.2, None, float("nan")])
    ]
    path = written("x.json")
    path.write_text(json.dumps(rows, indent=2))
    found = import_files(Source.ALPACA, [path])
    assert [review.ranks for review in found.reviews] == [
        [1, 2],
        [2, 1],
        [1, 1],
        [1, 1],
        [1, 2],
        None,
        None,
    ]
    assert found.reviews[0].lineup == ["base", "new"]
    assert found.questions["1"].category == "own"
    assert found.answers["new"]["7"].turns == ["b"]
    [told, _] = found.told()
    assert told.startswith("new against base: win rate 44.00 %, standard error 16.91")
    assert "1 wins and 2 draws in 5; 2 without a verdict" in told


def test_model_outputs_of_alpacaeval_are_answers(written):
    rows = [
        {"instruction": "Do it.", "output": name, "generator": name, "dataset": "own"}
        for name in ("m", "n")
    ]
    found = import_files(Source.ALPACA, [written("m.json", rows[0]), written("n.json", rows[1])])
    assert found.answers["n"]["1"].turns == ["n"]
    assert len(found.questions) == 1


@given(st.lists(st.floats(1, 2), min_size=2, max_size=40))
def test_the_win_rate_is_the_mean_with_the_samples_error(preferences):
    rows = [
        annotation_of(Row("f", n, {**ANNOTATION, "preference": preference}))
        for n, preference in enumerate(preferences)
    ]
    [rate] = win_rates(rows)
    shares = [100 * (preference - 1) for preference in preferences]
    assert rate.win_rate == pytest.approx(statistics.fmean(shares), abs=1e-9)
    error = statistics.stdev(shares) / len(shares) ** 0.5
    assert rate.standard_error == pytest.approx(error, abs=1e-9)
    assert rate.n == len(preferences)


def test_reviews_of_llmzoo_bring_questions_and_answers(written):
    unread = {**LLMZOO, "question_id": 8, "order": [-1, -1], "text": "Hm."}
    path = written("relevance/review.jsonl", LLMZOO, unread)
    found = import_files(Source.LLMZOO, [path])
    assert [(r.dimension, r.ranks, r.text) for r in found.reviews] == [
        ("relevance", [1, 2], "Assistant 1 > Assistant 2"),
        ("relevance", None, "Hm."),
    ]
    assert found.questions["7"].turns == ["1+1?"]
    assert found.answers["n"]["8"].turns == ["3"]
    scored = {key: value for key, value in LLMZOO.items() if key != "order"}
    [review] = read_reviews(written("review.jsonl", {**scored, "score": [8.5, 9]}))
    assert (review.dimension, review.scores) == ("general", [8.5, 9.0])


@pytest.mark.parametrize(
    "row",
    [
        {"id": "7", "turns": ["1+1?"], "category": "math", "language": "en"},
        {"question_id": 7, "text": "1+1?", "category": "math", "lang": "en"},
        {"id": 7, "query": "1+1?", "label": "math", "lang": "en"},
    ],
)
def test_questions_have_several_forms(written, row):
    [question] = read_questions(written("q.jsonl", row))
    assert (question.id, question.turns, question.category) == ("7", ["1+1?"], "math")


@pytest.mark.parametrize(
    "row",
    [
        {"question_id": "7", "turns": ["2"]},
        {"question_id": 7, "text": "2", "model_id": "other", "answer_id": "x"},
        answer(7, "other", "2"),
    ],
)
def test_answers_have_several_forms_and_one_model_needs_no_name(written, row):
    [told] = AnswersFile(written("a.jsonl", row)).of("m")
    assert (told.question_id, told.turns) == ("7", ["2"])


def test_of_several_models_the_named_one_answers(written):
    path = written("a.jsonl", answer(7, "m", "2"), answer(7, "n", "3"))
    assert AnswersFile(path).of("n")[0].turns == ["3"]
    with pytest.raises(MalformedFile, match="no answers of 'o'"):
        AnswersFile(path).of("o")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", ": holds nothing"),
        ("{}\n", ":1: the row is of no form"),
        ('{"question_id": 1, "text": "a"}\n{"question_id"', ":2: no JSON"),
        ('\n\n"text"', ":3: is no JSON object"),
        ('{"question_id": 1.5, "text": "a"}', ":1: question_id is neither text nor a whole number"),
        ('{"question_id": true, "text": "a"}', ":1: question_id is neither"),
        ('{"question_id": 1, "text": 3}', ":1: text is no text"),
        ('{"question_id": 1, "text": " "}', ":1: turns.0 does not fit"),
        ('{"question_id": 1, "turns": "a"}', ":1: turns is no list"),
        ('{"question_id": 1, "turns": ["a", 2]}', ":1: turns is no list of texts"),
        ('[{"text": "a", "id": 1},\n{"text": "b", "id": []}]', ":2: id is neither"),
        ('[{"text": "a"},\n{"text": }]', ":2: no JSON"),
        ('[{"text": "a"}\n{"text": "b"}]', ":2: no JSON: the array does not go on here"),
        ('[{"text": "a"}]\n\n]', ":1: something follows the array"),
        ("[", ": no JSON"),
        ("[" * 100_000, ":1: no JSON"),
        ("{" + '"a":{' * 100_000, ":1: no JSON"),
    ],
)
def test_a_fault_names_file_line_and_field(tmp_path, content, says):
    path = tmp_path / "q.jsonl"
    path.write_text(content)
    with pytest.raises(MalformedFile) as refused:
        read_questions(path)
    assert str(path) in refused.value.message
    assert says in refused.value.message


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({**SINGLE, "score": "8"}, "score is no number"),
        ({**SINGLE, "turn": 0}, "turn is no number from 1 on"),
        ({**SINGLE, "judge": []}, "judge is no text"),
        ({**PAIR, "g2_winner": "A"}, "g2_winner is none of"),
        ({**PAIR, "model_2": None}, "model_2 is missing"),
        ({**LLMZOO, "order": [1]}, "order has 1 values for 2 models"),
        ({**LLMZOO, "order": [1, 1.5]}, "order holds something that is no rank"),
        ({**LLMZOO, "metadata": None}, "metadata is no object"),
        (QUESTION, "holds questions"),
    ],
)
def test_a_review_that_does_not_fit_is_named(written, row, says):
    with pytest.raises(MalformedFile, match=":1: ") as refused:
        read_reviews(written("r.jsonl", row))
    assert says in refused.value.message


@pytest.mark.parametrize("preference", [0.5, 2.01, "1", -1, float("inf")])
def test_a_preference_that_is_none_is_refused(preference):
    with pytest.raises(MalformedFile, match="preference"):
        annotation_of(Row("f", 3, {**ANNOTATION, "preference": preference}))


def test_files_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / "latin.jsonl").write_bytes(b'{"text": "caf\xe9"}')
    (tmp_path / "empty").mkdir()
    for name, says in [
        ("none.jsonl", "No such file"),
        ("latin.jsonl", "UTF-8"),
        ("empty", "folder"),
    ]:
        with pytest.raises(MalformedFile, match=says):
            import_files(Source.FASTCHAT, [tmp_path / name])


def test_a_byte_order_mark_and_a_missing_last_newline_are_fine(tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_bytes(
        b'\xef\xbb\xbf{"question_id": 1, "text": "a"}\r\n{"question_id": 2, "text": "b"}'
    )
    assert [question.id for question in read_questions(path)] == ["1", "2"]


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    st.sampled_from([QUESTION, SINGLE, PAIR, ANNOTATION, LLMZOO, answer(7, "m", "2")]),
    st.data(),
)
def test_whatever_a_field_holds_is_read_or_refused(tmp_path_factory, row, data):
    name = data.draw(st.sampled_from(sorted(row)))
    path = tmp_path_factory.mktemp("any") / "f.jsonl"
    path.write_text(json.dumps({**row, name: data.draw(JSON)}) + "\n")
    source = (
        Source.ALPACA if row is ANNOTATION else Source.LLMZOO if row is LLMZOO else Source.FASTCHAT
    )
    with contextlib.suppress(LLMZooError):
        assert import_files(source, [path]).questions


@given(
    st.lists(st.dictionaries(st.text(max_size=3), JSON, max_size=2), min_size=1, max_size=4),
    st.booleans(),
)
def test_an_array_and_lines_are_read_alike(tmp_path_factory, rows, indented):
    folder = tmp_path_factory.mktemp("alike")
    (folder / "a.json").write_text(json.dumps(rows, indent=2 if indented else None))
    (folder / "l.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    array, lines = read_rows(folder / "a.json"), read_rows(folder / "l.jsonl")
    assert repr([row.fields for row in array]) == repr([row.fields for row in lines])
    text = (folder / "a.json").read_text().split("\n")
    assert all(text[row.line - 1].lstrip("[ ").startswith("{") for row in array) or not indented


def test_the_real_reviews_are_read(eval_data):
    found = import_files(Source.LLMZOO, [eval_data / "reviews" / "review_output"])
    assert len(found.reviews) == 290
    assert len(found.questions) == 70
    assert len(found.models) == 4
    assert {review.dimension for review in found.reviews} >= {"general", "immersion"}
    assert found.mode is Mode.ORDERING
