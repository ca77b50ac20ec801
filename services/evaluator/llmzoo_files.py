"""LLMZoo's files of a run: which of its reviews they are made of.

LLMZoo has one review a question, of all answers in the order of the candidates, by one judge: the
first of a question's reviews. Owns that choice; the files themselves are written by `artefacts`.
"""

from __future__ import annotations

from services.evaluator.artefacts.metric import metric_json
from services.evaluator.artefacts.ordering import ordering_txt
from services.evaluator.artefacts.rows import (
    CandidateAnswer,
    ReviewedQuestion,
    answer_rows,
    as_jsonl,
    legacy_reviews,
    review_rows,
)
from services.evaluator.jobs.material import RunMaterial
from services.evaluator.jobs.plan import ReviewUnit
from services.evaluator.ranks import ranks_of
from services.evaluator.routes.figures import ANSWERS, ArtefactRequest
from shared.errors import InvalidRequest


def artefact(material: RunMaterial, wanted: ArtefactRequest) -> bytes:
    """Return one file.

    Raises:
        InvalidRequest: the run has nothing that such a file could hold.
    """
    if wanted.name == ANSWERS:
        candidate = _candidate(material, wanted)
        return as_jsonl(answer_rows(_answered(material, candidate), candidate)).encode()
    questions = _reviewed(material, wanted)
    scores, horizontal = wanted.scores, wanted.horizontal
    match wanted.name:
        case "metric.json":
            rows = legacy_reviews(questions, scores=scores)
            text = metric_json(rows, horizontal=horizontal, scores=scores)
        case "ordering.txt":
            rows = legacy_reviews(questions, scores=scores)
            text = ordering_txt(rows, horizontal=horizontal, scores=scores)
        case _:
            text = as_jsonl(review_rows(questions, scores=scores))
    return text.encode()


def _reviewed(material: RunMaterial, wanted: ArtefactRequest) -> list[ReviewedQuestion]:
    """Return the questions of a dimension with the one review of each, in LLMZoo's order.

    A question whose review is still to come is left out; one that failed could not be read.
    """
    plan = material.plan
    rivals = len(plan.candidates)
    dimension = material.spec.dimension_names.index(wanted.dimension)
    found: dict[int, ReviewedQuestion | None] = {}
    for number in range(plan.reviews):
        unit = plan.review(number)
        fits = unit.dimension == dimension and len(unit.lineup) == rivals
        if fits and unit.question not in found:
            there = number in material.results or number in material.overrides
            one = _one(material, number, unit, scores=wanted.scores) if there else None
            found[unit.question] = one
    reviewed = [found[place] for place in sorted(found)]
    ordered = _ordered([each for each in reviewed if each is not None])
    if not ordered:
        msg = "The run has no reviews of all candidates at once, which LLMZoo's files are made of."
        raise InvalidRequest(msg, param="dimension")
    if wanted.scores and not any(each.scores for each in ordered):
        msg = "The run has no scores: its judges were asked for an order."
        raise InvalidRequest(msg, param="score")
    return ordered


def _ordered(questions: list[ReviewedQuestion]) -> list[ReviewedQuestion]:
    """Return questions as LLMZoo's sums need them: by number, which its ids are."""
    if all(each.question.isascii() and each.question.isdecimal() for each in questions):
        return sorted(questions, key=lambda each: int(each.question))
    return questions


def _answered(material: RunMaterial, candidate: str) -> list[ReviewedQuestion]:
    """Return the questions that a candidate answered, each with this answer alone."""
    plan = material.plan
    who = [each.name for each in plan.candidates].index(candidate)
    found: list[ReviewedQuestion] = []
    for place, question in enumerate(plan.questions):
        stored = material.answers.get(plan.answer_number(place, who))
        if stored is None or stored.error is not None:
            continue
        answer = CandidateAnswer(candidate, "\n\n".join(stored.turns))
        found.append(
            ReviewedQuestion(
                question=question.id or "",
                text=question.text,
                category=question.category,
                language=question.language,
                answers=(answer,),
            )
        )
    return _ordered(found)


def _one(material: RunMaterial, number: int, unit: ReviewUnit, *, scores: bool) -> ReviewedQuestion:
    """Return one review with everything in the order of the candidates."""
    plan = material.plan
    question = plan.questions[unit.question]
    result = material.results.get(number)
    verdict = material.verdict(number)
    points = verdict.scores if verdict else None
    ranks = verdict.ranks if verdict else None
    if ranks is None and points is not None:
        ranks = ranks_of(points)
    places = sorted(range(len(unit.lineup)), key=lambda place: unit.lineup[place])
    answers: list[CandidateAnswer] = []
    for who, candidate in enumerate(plan.candidates):
        stored = material.answers.get(plan.answer_number(unit.question, who))
        text = "\n\n".join(stored.turns) if stored and stored.error is None else ""
        answers.append(CandidateAnswer(candidate.name, text))
    return ReviewedQuestion(
        question=question.id or "",
        text=question.text,
        category=question.category,
        language=question.language,
        answers=tuple(answers),
        judge=material.judge_of(unit),
        judge_text=(result.judge_text if result else None) or "",
        ranks=None if ranks is None or scores else tuple(ranks[place] for place in places),
        scores=None if points is None or not scores else tuple(points[place] for place in places),
    )


def _candidate(material: RunMaterial, wanted: ArtefactRequest) -> str:
    names = [candidate.name for candidate in material.plan.candidates]
    chosen = wanted.candidate or (names[0] if len(names) == 1 else "")
    if chosen not in names:
        msg = "'candidate' must be one of the run's candidates."
        raise InvalidRequest(msg, param="candidate")
    return chosen
