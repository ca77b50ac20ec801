"""Prices and reviews for dry runs, simple enough to be reckoned by hand."""

from __future__ import annotations

from dataclasses import dataclass

from services.evaluator.judging.assessment import Form
from shared.protocol.evals.spec import EvalSpec


@dataclass
class Counted:
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None


class Prices:
    """Counts a token for four letters; each answer has ten."""

    def __init__(self, unknown: str = "") -> None:
        self.unknown = unknown
        self.bodies = []

    def __call__(self, body):
        self.bodies.append(body)
        letters = sum(len(message["content"]) for message in body["messages"])
        cost = None if body["model"] == self.unknown else 0.5
        return Counted(letters // 4, 10, cost)


class Asking:
    """A review whose one request holds the answers."""

    forms = (Form.SCHEMA, Form.TEXT)

    def __init__(self, task, model):
        self._task, self._model = task, model

    def request(self, form):
        assert form is Form.SCHEMA
        shown = " ".join(turn for answer in self._task.answers for turn in answer.turns)
        return {"model": self._model, "messages": [{"role": "user", "content": shown}]}


class ByRule:
    forms = ()


def assess(spec: EvalSpec, dimension: int, task):
    if task.judge is not None:
        return Asking(task, task.judge.model)
    grader = spec.graders[dimension - len(spec.dimensions)]
    return Asking(task, grader.model) if grader.model else ByRule()
