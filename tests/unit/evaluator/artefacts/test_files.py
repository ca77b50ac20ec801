"""LLMZoo's files: ten real cells byte for byte, and what is wrong with others by file and line."""

import json
from pathlib import Path

import pytest

from services.evaluator.artefacts import (
    CandidateAnswer,
    ReviewedQuestion,
    answer_rows,
    as_jsonl,
    legacy_reviews,
    metric_json,
    review_rows,
)
from services.evaluator.offline import write_artefacts
from shared.errors import MalformedFile, OutputNotWritten
from tests.fakes.legacy_files import write_questions, write_reviews, write_rows

CELLS = [
    (group, dimension)
    for group in ("review_output", "review_en_13b")
    for dimension in ("general", "relevance", "diversity", "coherence", "immersion")
]


@pytest.mark.parametrize(("group", "dimension"), CELLS)
def test_real_cells_come_out_byte_for_byte(eval_data, tmp_path, group, dimension):
    cell = eval_data / "reviews" / group / "en" / dimension
    write_artefacts(
        eval_data / "questions" / "questions-en.jsonl",
        cell / "review.jsonl",
        tmp_path / "new" / "folder",
        horizontal=group == "review_en_13b",
        category="roleplay" if dimension == "immersion" else None,
    )
    for name in ("metric.json", "ordering.txt"):
        assert (tmp_path / "new" / "folder" / name).read_bytes() == (cell / name).read_bytes()


def test_a_question_file_of_roleplay_alone_serves_as_well(eval_data, tmp_path):
    cell = eval_data / "reviews" / "review_output" / "en" / "immersion"
    text = (eval_data / "questions" / "questions-en.jsonl").read_text("utf-8")
    rows = map(json.loads, text.splitlines())
    questions = write_rows(tmp_path / "q", [row for row in rows if row["category"] == "roleplay"])
    write_artefacts(questions, cell / "review.jsonl", tmp_path)
    assert (tmp_path / "metric.json").read_bytes() == (cell / "metric.json").read_bytes()


def test_reading_real_texts_anew_tells_the_wrong_labels(eval_data, tmp_path):
    cell = eval_data / "reviews" / "review_en_13b" / "en" / "general"
    questions = eval_data / "questions" / "questions-en.jsonl"
    written = write_artefacts(
        questions, cell / "review.jsonl", tmp_path, horizontal=True, reparse=True
    )
    assert [(each.stored, each.read) for each in written.differences] == [
        ((1, 2), (1, 1)),
        ((1, 2), (2, 1)),
    ]
    metric = json.loads((tmp_path / "metric.json").read_text("utf-8"))
    assert list(metric.values()) == [
        {"order": 1.5, "score": 7.5},
        {"order": 1.2857142857142858, "score": 8.571428571428571},
    ]


@pytest.fixture
def files(tmp_path):
    """Two good files and a folder."""
    questions = write_questions(tmp_path / "q.jsonl", ("generic", "roleplay"))
    reviews = write_reviews(tmp_path / "r.jsonl", {1: [1, 2, 2], 2: [3, 1, 1]})
    return questions, reviews, tmp_path / "out"


def lines(file: Path, *texts: bytes) -> Path:
    file.write_bytes(b"\n".join(texts))
    return file


def review(**changes):
    row = {"question_id": 1, "metadata": {"model_ids": ["A", "B"]}, "order": [1, 2], **changes}
    return json.dumps(row).encode()


GOOD = review()


def test_reviews_of_other_questions_are_left_out_whatever_they_hold(files):
    questions, reviews, out = files
    alone = write_artefacts(questions, reviews, out)
    figures = [file.read_bytes() for file in alone.files]
    other = review(question_id=3, metadata={"model_ids": ["X"]}, order=None)
    lines(reviews, other, *reviews.read_bytes().splitlines(), other)
    both = write_artefacts(questions, reviews, out)
    assert (alone.left_out, both.left_out) == (0, 2)
    assert (both.reviews, [file.read_bytes() for file in both.files]) == (2, figures)


@pytest.mark.parametrize(
    ("rows", "line", "says"),
    [
        ([b"{"], 1, "no JSON"),
        ([GOOD, b"", b"[1]"], 3, "no JSON object"),
        ([b"\xff"], 1, "no JSON"),
        ([review(question_id=None)], 1, "question_id"),
        ([review(question_id=True)], 1, "question_id"),
        ([GOOD, GOOD], 2, "second review of question 1"),
        ([GOOD], None, "no review of question 2"),
        ([review(metadata={})], 1, "model_ids"),
        ([review(metadata=[])], 1, "model_ids"),
        ([review(metadata={"model_ids": ["A"]})], 1, "model_ids"),
        ([review(metadata={"model_ids": ["A", "A"]})], 1, "twice"),
        ([review(order=[1])], 1, "1 values for 2 models"),
        ([review(order=None)], 1, "order is missing"),
        ([review(order=[0, 1])], 1, "0"),
        ([review(order=[1, 3])], 1, "from 1 to 2"),
        ([review(order=[1, 1.5])], 1, "1.5"),
        ([review(order=[1, True])], 1, "True"),
        ([review(order=[1, "2"])], 1, "'2'"),
        (
            [GOOD, review(question_id=2, metadata={"model_ids": ["B", "A"]})],
            2,
            "another order than in line 1",
        ),
        (
            [GOOD, review(question_id=2, metadata={"model_ids": ["A", "B", "C"]}, order=[1, 2, 3])],
            2,
            "3 models, where line 1 has 2",
        ),
    ],
)
def test_a_bad_review_file_is_told_by_its_line(files, rows, line, says):
    questions, reviews, out = files
    lines(reviews, *rows)
    with pytest.raises(MalformedFile, match=says) as refused:
        write_artefacts(questions, reviews, out)
    place = f"{reviews}:{line}: " if line else f"{reviews}: "
    assert refused.value.message.startswith(place)
    assert not out.exists()


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([b'{"question_id": 1}', b'{"question_id": 1}'], r":2: question_id 1 stands twice"),
        ([b'{"question_id": 1}', b'{"question_id": "2"}'], ":2: question_id is a number in some"),
        ([b'{"question_id": 1, "category": 2}'], ":1: category"),
        ([b'{"id": 1}'], ":1: question_id"),
        ([b""], "no question"),
    ],
)
def test_a_bad_question_file_is_told_by_its_line(files, rows, says):
    questions, reviews, out = files
    lines(questions, *rows)
    with pytest.raises(MalformedFile, match=says):
        write_artefacts(questions, reviews, out)


def test_byte_order_mark_empty_lines_and_no_last_newline_are_fine(files):
    questions, reviews, out = files
    content = reviews.read_bytes()
    reviews.write_bytes(b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n\r\n"))
    assert write_artefacts(questions, reviews, out).reviews == 2


def test_a_file_that_is_not_there_is_named(files, tmp_path):
    questions, _, out = files
    with pytest.raises(MalformedFile, match="nowhere"):
        write_artefacts(questions, tmp_path / "nowhere", out)


def test_an_unknown_category_is_told(files):
    questions, reviews, out = files
    with pytest.raises(MalformedFile, match="'cooking'"):
        write_artefacts(questions, reviews, out, category="cooking")


def test_a_folder_that_cannot_be_is_told(files):
    questions, reviews, _ = files
    with pytest.raises(OutputNotWritten, match=r"q\.jsonl"):
        write_artefacts(questions, reviews, questions / "below")


def test_what_stood_there_is_replaced_whole(files):
    questions, reviews, out = files
    out.mkdir()
    (out / "metric.json").write_text("old")
    write_artefacts(questions, reviews, out)
    assert json.loads((out / "metric.json").read_text())["B"]["winning"]["gpt3.5"] == 1
    assert sorted(file.name for file in out.iterdir()) == ["metric.json", "ordering.txt"]


REVIEWED = [
    ReviewedQuestion(
        question=str(number),
        text="¿Qué?",
        category="generic",
        language="es",
        answers=(CandidateAnswer("A", "uno"), CandidateAnswer("B", "dos")),
        judge="judge-1",
        judge_text="Assistant 1 > Assistant 2",
        ranks=ranks,
    )
    for number, ranks in ((1, (1, 2)), (2, None))
]


def test_rows_of_ours_are_written_as_llmzoo_writes_them():
    first, second = review_rows(REVIEWED)
    assert list(first) == [
        *("review_id", "reviewer_id", "lang", "question_id", "answer_ids", "category"),
        *("metadata", "text", "order"),
    ]
    assert first["question_id"] == 1
    assert first["metadata"] == {
        "question": "¿Qué?",
        "answers": ["uno", "dos"],
        "model_ids": ["A", "B"],
    }
    assert (first["order"], second["order"]) == ([1, 2], [-1, -1])
    assert "¿Qué?" in as_jsonl([first])
    assert as_jsonl([first, second]).count("\n") == 2


def test_reviews_refer_to_the_rows_of_answers():
    rows = answer_rows(REVIEWED, "B")
    assert [row["answer_id"] for row in rows] == [
        row["answer_ids"][1] for row in review_rows(REVIEWED)
    ]
    assert [row["text"] for row in rows] == ["dos", "dos"]
    assert answer_rows(REVIEWED, "C") == []


def test_rows_of_ours_read_back_to_the_same_figures(tmp_path):
    questions = write_questions(tmp_path / "q.jsonl", ("generic", "generic"))
    reviews = tmp_path / "review.jsonl"
    reviews.write_text(as_jsonl(review_rows(REVIEWED)), "utf-8")
    write_artefacts(questions, reviews, tmp_path)
    expected = metric_json(legacy_reviews(REVIEWED), horizontal=False, scores=False)
    assert (tmp_path / "metric.json").read_text("utf-8") == expected
