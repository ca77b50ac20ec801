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
    """Counts a token for four letters; each answer has ten, and twenty at most."""

    def __init__(self, unknown: str = "") -> None:
        self.unknown = unknown
        self.bodies = []

    def expected(self, body):
        self.bodies.append(body)
        return self._counted(body, 10, 0.5)

    def estimate(self, body):
        return self._counted(body, 20, 1.0)

    def _counted(self, body, completion, cost):
        letters = sum(len(message["content"]) for message in body["messages"])
        unknown = body["model"] == self.unknown
        return Counted(letters // 4, completion, None if unknown else cost)


class Asking:
    """A review whose one request holds the answers."""

    forms = (Form.SCHEMA, Form.TEXT)

    def __init__(self, task, model):
        self._task, self._model = task, model

    def request(self, form):
        assert form is Form.SCHEMA
        shown = " ".join(turn for answer in self._task.answers for turn in answer.turns)
        return {"model": self._model, "messages": [{"role": "user", "content": shown}]}

    def again(self, form, reply, verdict):
        assert not verdict.decoded
        body = self.request(form)
        return {**body, "messages": [*body["messages"], {"role": "assistant", "content": reply}]}


class ByRule:
    forms = ()


def assess(spec: EvalSpec, dimension: int, task):
    if task.judge is not None:
        return Asking(task, task.judge.model)
    grader = spec.graders[dimension - len(spec.dimensions)]
    return Asking(task, grader.model) if grader.model else ByRule()
