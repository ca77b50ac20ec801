"""LLMZoo's files of a run: which of its reviews they are made of.

LLMZoo has one review a question, of all answers in the order of the candidates, by one judge. Owns
that choice; the files themselves are written by `artefacts`.
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
from services.evaluator.judging.rankings import ranks_of
from services.evaluator.routes.figures import ArtefactRequest
from shared.errors import InvalidRequest


def artefact(material: RunMaterial, wanted: ArtefactRequest) -> bytes:
    """Return one file.

    Raises:
        InvalidRequest: the run has nothing that such a file could hold.
    """
    questions = _reviewed(material, wanted)
    scores, horizontal = wanted.scores, wanted.horizontal
    match wanted.name:
        case "metric.json":
            rows = legacy_reviews(questions, scores=scores)
            text = metric_json(rows, horizontal=horizontal, scores=scores)
        case "ordering.txt":
            rows = legacy_reviews(questions, scores=scores)
            text = ordering_txt(rows, horizontal=horizontal, scores=scores)
        case "review.jsonl":
            text = as_jsonl(review_rows(questions, scores=scores))
        case _:
            text = as_jsonl(answer_rows(questions, _candidate(material, wanted)))
    return text.encode()


def _reviewed(material: RunMaterial, wanted: ArtefactRequest) -> list[ReviewedQuestion]:
    """Return the questions of a dimension with the one review of each, in LLMZoo's order."""
    plan = material.plan
    rivals = len(plan.candidates)
    dimension = material.spec.dimension_names.index(wanted.dimension)
    found: dict[int, ReviewedQuestion] = {}
    for number in range(plan.reviews):
        unit = plan.review(number)
        fits = unit.dimension == dimension and len(unit.lineup) == rivals
        if fits and unit.question not in found:
            found[unit.question] = _one(material, number, unit, scores=wanted.scores)
    if not found:
        msg = "The run has no reviews of all candidates at once, which LLMZoo's files are made of."
        raise InvalidRequest(msg, param="dimension")
    if wanted.scores and not any(each.scores for each in found.values()):
        msg = "The run has no scores: its judges were asked for an order."
        raise InvalidRequest(msg, param="score")
    ordered = [found[place] for place in sorted(found)]
    # The order decides the last digits of a sum; LLMZoo's ids are numbers.
    if all(each.question.isascii() and each.question.isdecimal() for each in ordered):
        ordered.sort(key=lambda each: int(each.question))
    return ordered


def _one(material: RunMaterial, number: int, unit: ReviewUnit, *, scores: bool) -> ReviewedQuestion:
    """Return one review with everything in the order of the candidates."""
    plan = material.plan
    question = plan.questions[unit.question]
    result = material.results.get(number)
    there = result is not None or number in material.overrides
    verdict = material.verdict(number) if there else None
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
