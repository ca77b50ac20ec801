"""Models and judges of an evaluation in the test's own process, and reviews made of their text."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

from services.evaluator.judging.assessment import Form, ReviewTask
from shared.protocol.evals.item import Verdict
from shared.protocol.evals.spec import EvalSpec


@dataclass
class Said:
    """A reply as the calls give it."""

    text: str
    finish_reason: str = "stop"
    prompt_tokens: int = 10
    completion_tokens: int = 3
    model_version: str = "v1"
    logprobs: list[Any] | None = None
    cost_usd: float = 0.001
    seconds: float | None = 0.5
    repeats: int = 0


@dataclass
class Estimated:
    prompt_tokens: int = 10
    completion_tokens: int = 3
    cost_usd: float | None = 0.001


class FlatEstimates:
    """Every call may use the same."""

    def __init__(self, cost_usd: float | None = 0.001) -> None:
        self.cost_usd = cost_usd

    def estimate(self, body: dict[str, Any]) -> Estimated:  # noqa: ARG002 - the interface
        return Estimated(cost_usd=self.cost_usd)


@dataclass
class Ask:
    body: dict[str, Any]
    salt: str

    @property
    def model(self) -> str:
        return self.body["model"]

    @property
    def text(self) -> str:
        return self.body["messages"][-1]["content"]

    @property
    def key(self) -> str:
        content = orjson.dumps([self.body, self.salt], option=orjson.OPT_SORT_KEYS)
        return hashlib.sha256(content).hexdigest()


def obliging(ask: Ask) -> Said:
    """Answer as a candidate; as a judge say 7."""
    return Said("Score: 7" if ask.model.startswith("judge") else f"{ask.model} on {ask.text}")


class ScriptedCalls:
    """`reply` decides on each call, or raises; while `gate` is closed, calls wait behind it."""

    def __init__(self, reply: Callable[[Ask], Said] = obliging) -> None:
        self.reply = reply
        self.asked: list[Ask] = []
        self.answered: list[Ask] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def ask(self, body: dict[str, Any], *, salt: str = "") -> Said:
        ask = Ask(body, salt)
        self.asked.append(ask)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(0)
            await self.gate.wait()
            said = self.reply(ask)
        finally:
            self.in_flight -= 1
        self.answered.append(ask)
        return said

    def models(self) -> Counter[str]:
        """Return how often each model answered."""
        return Counter(ask.model for ask in self.answered)


@dataclass
class ScoreAssessment:
    """Reads `Score: N` for every answer of a line-up; anything else is undecoded."""

    spec: EvalSpec
    dimension: int
    task: ReviewTask
    forms: tuple[Form, ...] = field(default=(Form.TEXT,))

    def request(self, form: Form) -> dict[str, Any]:
        shown = " | ".join(" ".join(answer.turns) for answer in self.task.answers)
        names = self.spec.dimension_names
        text = f"{names[self.dimension]}: {self.task.question.text} -> {shown}"
        body = {"model": self.model, "messages": [{"role": "user", "content": text}]}
        return {**body, "response_format": {}} if form is Form.SCHEMA else body

    @property
    def model(self) -> str:
        assert self.task.judge is not None
        return self.task.judge.model

    def read(self, form: Form, reply: str, logprobs: list[Any] | None) -> Verdict:  # noqa: ARG002
        word, _, number = reply.partition(": ")
        if word != "Score" or not number.isdigit():
            return Verdict(rule="no_score")
        count = len(self.task.answers)
        return Verdict(scores=[float(number)] * count, ranks=[1] * count, rule="score")

    def again(self, form: Form, reply: str, verdict: Verdict) -> dict[str, Any]:
        body = self.request(form)
        more = [
            {"role": "assistant", "content": reply},
            {"role": "user", "content": f"Again: {verdict.rule}"},
        ]
        return {**body, "messages": body["messages"] + more}

    def local(self) -> Verdict:
        return Verdict(label="same", passed=True, ranks=[1], rule="local")


def assess(spec: EvalSpec, dimension: int, task: ReviewTask) -> ScoreAssessment:
    return ScoreAssessment(spec, dimension, task)
