"""`llmzoo eval artefacts` as a process: files, exit codes, and how soon it is done."""

import subprocess
import time

import pytest

from tests.fakes.command_line import LLMZOO, clean_environment
from tests.fakes.legacy_files import write_questions, write_reviews


@pytest.fixture
def artefacts(tmp_path):
    """Runs the command; returns the finished process."""

    def run(questions, reviews, *options):
        files = ["--questions", questions, "--reviews", reviews, "--out", tmp_path / "out"]
        return subprocess.run(
            [*LLMZOO, "eval", "artefacts", *files, *options],
            env=clean_environment(),
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.mark.parametrize(
    ("cell", "options"),
    [
        ("review_output/en/general", []),
        ("review_output/en/immersion", ["--category", "roleplay"]),
        ("review_en_13b/en/coherence", ["--horiz"]),
    ],
)
def test_real_cells_come_out_byte_for_byte(eval_data, artefacts, tmp_path, cell, options):
    folder = eval_data / "reviews" / cell
    questions = eval_data / "questions" / "questions-en.jsonl"
    started = time.monotonic()
    done = artefacts(questions, folder / "review.jsonl", *options)
    took = time.monotonic() - started
    assert (done.returncode, done.stdout) == (0, "")
    for name in ("metric.json", "ordering.txt"):
        assert (tmp_path / "out" / name).read_bytes() == (folder / name).read_bytes()
    # A third of it on a machine that does nothing else.
    assert took < 3


def test_scores_and_what_texts_say_otherwise(artefacts, tmp_path):
    questions = write_questions(tmp_path / "q.jsonl", ["generic"])
    reviews = write_reviews(tmp_path / "r.jsonl", {1: [8, 9, 7]}, key="score")
    done = artefacts(questions, reviews, "--score", "--reparse", "--horiz")
    assert done.returncode == 0
    assert done.stdout == "question 1: stored [8, 9, 7], read [-1, -1, -1] by no_score\n"


def test_reviews_of_other_questions_are_counted_on_stderr(artefacts, tmp_path):
    questions = write_questions(tmp_path / "q.jsonl", ["generic"])
    reviews = write_reviews(tmp_path / "r.jsonl", {1: [1, 2, 2], 7: [1, 1, 1], 8: [2, 1, 2]})
    done = artefacts(questions, reviews)
    assert done.returncode == 0
    told = done.stderr.splitlines()
    assert told[0] == "reviews left out, as their questions are not in the file: 2"
    assert len(told) == 2


def test_a_bad_line_is_one_line_on_stderr_and_exit_code_1(artefacts, tmp_path):
    questions = write_questions(tmp_path / "q.jsonl", ["generic"])
    reviews = tmp_path / "r.jsonl"
    reviews.write_bytes(b"{\n")
    done = artefacts(questions, reviews)
    assert done.returncode == 1
    assert done.stderr.startswith(f"llmzoo: {reviews}:1: no JSON")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_missing_option_is_wrong_usage(tmp_path):
    command = [*LLMZOO, "eval", "artefacts", "--out", str(tmp_path)]
    done = subprocess.run(
        command, env=clean_environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "--questions" in done.stderr
