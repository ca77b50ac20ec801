"""Files of questions, answers and reviews, read in whichever known form they are: the public entry.

Owns which forms belong to which project, and how AlpacaEval's rows, which have no ids, find each
other. Pure Python; asks nobody.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path

from services.evaluator.importing import alpaca, fastchat, ours
from services.evaluator.importing.forms import Form, form_of
from services.evaluator.importing.found import Found
from services.evaluator.importing.rows import Row, read_rows
from shared.errors import InvalidRequest, MalformedFile
from shared.protocol.evals.run import GivenAnswer, GivenReview
from shared.protocol.evals.spec import Question


class Source(StrEnum):
    """Whose files are read."""

    FASTCHAT = "fastchat"
    ALPACA = "alpacaeval"
    LLMZOO = "llmzoo"


_OURS = {Form.QUESTION, Form.ANSWER, Form.REVIEW}
_FORMS = {
    Source.FASTCHAT: _OURS | {Form.FASTCHAT_ANSWER, Form.FASTCHAT_SINGLE, Form.FASTCHAT_PAIR},
    Source.ALPACA: {Form.ALPACA_ANNOTATION, Form.ALPACA_OUTPUT},
    Source.LLMZOO: _OURS | {Form.LLMZOO_REVIEW},
}
_ENDINGS = {
    Source.FASTCHAT: (".jsonl",),
    Source.ALPACA: (".json", ".jsonl"),
    Source.LLMZOO: (".jsonl",),  # its figures, beside its reviews, are .json
}


def read_questions(path: Path) -> list[Question]:
    """Return the questions of a file in our form, LLMZoo's or FastChat's. Raises MalformedFile."""
    return [ours.question_of(row) for row in _of_forms(path, {Form.QUESTION})]


class AnswersFile:
    """A file of answers in our form, LLMZoo's or FastChat's, of one model or of several."""

    def __init__(self, path: Path) -> None:
        """Read it. Raises MalformedFile."""
        self._path = path
        self._found = [
            fastchat.answer_of(row) if "choices" in row.fields else ours.answer_of(row)
            for row in read_rows(path)
        ]

    def of(self, model: str) -> list[GivenAnswer]:
        """Return a model's answers; all, where they are one model's, whatever its name is.

        Raises:
            MalformedFile: it has none of this model.
        """
        several = len({each.model for each in self._found}) > 1
        taken = [each for each in self._found if not several or each.model == model]
        if not taken:
            raise MalformedFile(self._path, None, f"has no answers of {model!r}")
        return list({each.answer.question_id: each.answer for each in taken}.values())


def read_reviews(path: Path) -> list[GivenReview]:
    """Return the reviews of a file in our form, LLMZoo's or FastChat's. Raises MalformedFile."""
    found = Found()
    forms = {Form.REVIEW, Form.LLMZOO_REVIEW, Form.FASTCHAT_SINGLE, Form.FASTCHAT_PAIR}
    for row in _of_forms(path, forms):
        for review in _reviews_of(row):
            found.add_review(review)
    found.numbered()
    return found.reviews


def import_files(source: Source, paths: Sequence[Path]) -> Found:
    """Return all that these files, and the project's files in these folders, hold.

    Raises:
        MalformedFile: a file cannot be read, or is none of this project's.
        InvalidRequest: there are no questions, or neither answers nor reviews.
    """
    found = Found()
    rows = [row for path in _files(paths, source) for row in _of_forms(path, _FORMS[source])]
    if source is Source.ALPACA:
        _add_alpaca(found, rows)
    else:
        for row in rows:
            _add(found, row)
    found.numbered()
    _check(found, source)
    return found


def _files(paths: Sequence[Path], source: Source) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        inside = sorted(each for each in path.rglob("*") if each.suffix in _ENDINGS[source])
        if path.is_dir() and not inside:
            raise MalformedFile(path, None, "is a folder without such files")
        files += inside if path.is_dir() else [path]
    return list(dict.fromkeys(files))


def _of_forms(path: Path, forms: set[Form]) -> list[Row]:
    """Return a file's rows, all of the form of the first one."""
    rows = read_rows(path)
    form = form_of(rows[0])
    if form not in forms:
        wanted = ", ".join(sorted(forms))
        raise MalformedFile(path, rows[0].line, f"holds {form}; wanted are {wanted}")
    return rows


def _add(found: Found, row: Row) -> None:
    match form_of(row):
        case Form.QUESTION:
            row.identity("id", "question_id")
            found.add_question(ours.question_of(row))
        case Form.ANSWER:
            found.add_answer(row.text("candidate", "model_id", "model"), ours.answer_of(row).answer)
        case Form.FASTCHAT_ANSWER:
            _add_fastchat_answer(found, row)
        case _:
            _add_review(found, row)


def _add_fastchat_answer(found: Found, row: Row) -> None:
    told = fastchat.answer_of(row)
    if fastchat.failed(told.answer):
        found.counted["answers that failed when they were asked for, left out"] += 1
    elif told.model is not None:
        found.add_answer(told.model, told.answer)
    if len(row.fields["choices"]) > 1:
        found.counted["answers with several choices, the first is taken"] += 1


def _add_review(found: Found, row: Row) -> None:
    for review in _reviews_of(row):
        found.add_review(review)
        if review.dimension.startswith("turn-"):
            found.rubrics[review.dimension] = fastchat.rubric_of(review.dimension)
    if form_of(row) is Form.LLMZOO_REVIEW:
        found.add_question(ours.llmzoo_question_of(row))
        for told in ours.llmzoo_answers_of(row):
            if told.model is not None:
                found.add_answer(told.model, told.answer)


def _reviews_of(row: Row) -> list[GivenReview]:
    match form_of(row):
        case Form.REVIEW:
            return [ours.review_of(row)]
        case Form.LLMZOO_REVIEW:
            return [ours.llmzoo_review_of(row)]
        case Form.FASTCHAT_SINGLE:
            return [fastchat.single_of(row)]
        case Form.FASTCHAT_PAIR:
            return fastchat.pair_of(row)
        case form:
            raise row.fault("the row", f"is {form}, and no review")


def _add_alpaca(found: Found, rows: Sequence[Row]) -> None:
    """Add rows whose instruction is their question's only name."""
    ids: dict[str, str] = {}
    annotations: list[alpaca.Annotation] = []
    for row in rows:
        if form_of(row) is Form.ALPACA_ANNOTATION:
            annotation = alpaca.annotation_of(row)
            annotations.append(annotation)
            question_id = ids.setdefault(annotation.instruction, str(len(ids) + 1))
            found.add_question(alpaca.question_of(annotation, question_id))
            found.add_review(alpaca.review_of(annotation, question_id))
            told = alpaca.answers_of(annotation, question_id)
        else:
            instruction = row.text("instruction")
            question_id = ids.setdefault(instruction, str(len(ids) + 1))
            dataset = row.optional_text("dataset")
            found.add_question(
                row.made(Question, id=question_id, turns=[instruction], category=dataset)
            )
            told = [alpaca.output_of(row, question_id)]
        for each in told:
            if each.model is not None:
                found.add_answer(each.model, each.answer)
    found.notes += [_said(rate) for rate in alpaca.win_rates(annotations)]


def _said(rate: alpaca.WinRate) -> str:
    error = "" if rate.standard_error is None else f", standard error {rate.standard_error:.2f}"
    return (
        f"{rate.model} against {rate.baseline}: win rate {rate.win_rate:.2f} %{error} "
        f"({rate.wins} wins and {rate.draws} draws in {rate.n}; "
        f"{rate.without_verdict} without a verdict)"
    )


def _check(found: Found, source: Source) -> None:
    if not (found.answers or found.reviews):
        raise InvalidRequest("There are neither answers nor reviews in these files.")
    asked = {answer for answers in found.answers.values() for answer in answers}
    asked |= {review.question_id for review in found.reviews}
    missing = sorted(asked - found.questions.keys())
    if missing:
        named = ", ".join(missing[:5]) + (", …" if len(missing) > 5 else "")  # noqa: PLR2004
        more = " Name question.jsonl too." if source is Source.FASTCHAT else ""
        raise InvalidRequest(f"{len(missing)} questions are not in these files ({named}).{more}")


def unanswered(found: Found) -> Iterator[str]:
    """Yield the questions that some model with answers has none to, unless reviews are given."""
    if not found.reviews:
        for question in found.questions:
            if any(question not in answers for answers in found.answers.values()):
                yield question
