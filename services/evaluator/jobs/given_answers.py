"""The answers that a run's spec brings, by number, each read when it is asked for."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping

from services.evaluator.jobs.plan import Plan
from services.evaluator.jobs.records import StoredAnswer
from services.evaluator.sealed_rows import sealed
from shared.protocol.evals.run import GivenAnswer

_NONE = -1


class GivenAnswers(Mapping[int, StoredAnswer]):
    """Where each of them stands; eight bytes a question and candidate beside the spec."""

    def __init__(self, plan: Plan) -> None:
        """Look for them; takes a while for many."""
        self._plan = plan
        self._rows = [sealed(each.answers or (), GivenAnswer) for each in plan.candidates]
        self._places = [array("q") for _ in self._rows]
        if any(self._rows):
            self._look()

    def __getitem__(self, number: int) -> StoredAnswer:
        """Return an answer; raises KeyError."""
        unit = self._plan.answer(number)
        places = self._places[unit.candidate]
        if not places or places[unit.question] == _NONE:
            raise KeyError(number)
        told = self._rows[unit.candidate].plain(places[unit.question])
        return StoredAnswer(tuple(told["turns"]))

    def __contains__(self, number: object) -> bool:
        """Return whether an answer is given, without reading it."""
        assert isinstance(number, int)
        unit = self._plan.answer(number)
        places = self._places[unit.candidate]
        return bool(places) and places[unit.question] != _NONE

    def __iter__(self) -> Iterator[int]:
        """Yield the numbers of those that are given."""
        return (number for number in range(self._plan.answers) if number in self)

    def __len__(self) -> int:
        """Return how many are given."""
        return sum(1 for _ in self)

    def _look(self) -> None:
        questions = {question.id: place for place, question in enumerate(self._plan.questions)}
        for rows, places in zip(self._rows, self._places, strict=True):
            if rows:
                places.extend([_NONE] * len(questions))
            for place in range(len(rows)):
                question = questions.get(rows.plain(place)["question_id"])
                if question is not None:
                    places[question] = place
