"""What a run has brought, as the beginning of another one: its candidates with their answers."""

from __future__ import annotations

from services.evaluator.jobs.material import RunMaterial
from services.evaluator.specs.candidates import Earlier
from shared.protocol.evals.run import Candidate, GivenAnswer


def candidates_with_answers(material: RunMaterial) -> list[Candidate]:
    """Return a run's candidates, each with all answers that it has given; failed ones are not."""
    plan = material.plan
    given: list[list[GivenAnswer]] = [[] for _ in plan.candidates]
    for number, stored in sorted(material.answers.items()):
        unit = plan.answer(number)
        question = plan.questions[unit.question]
        if stored.error is None:
            answer = GivenAnswer(question_id=question.id or "", turns=list(stored.turns))
            given[unit.candidate].append(answer)
    return [
        candidate.model_copy(
            update={
                "answers": answers,
                # As it was asked: another run may have other settings.
                "sampling": candidate.sampling or material.run_spec.sampling,
            }
        )
        for candidate, answers in zip(plan.candidates, given, strict=True)
    ]


def earlier_of(material: RunMaterial) -> Earlier:
    """Return the same by the candidates' names."""
    return Earlier({each.name: each for each in candidates_with_answers(material)})
