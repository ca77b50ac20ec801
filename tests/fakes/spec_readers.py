"""Readers of specs before a fleet that a test describes, and bodies without a fault."""

from __future__ import annotations

import asyncio
from typing import Any

from services.evaluator.specs.candidates import Earlier
from services.evaluator.specs.reader import SpecReader
from shared.errors import InvalidSpec, NotFound
from shared.protocol.evals.spec import EvalSpec, Judge, Question

SERVED = ("alpha", "beta", "judge", "far/judge")
METRICS = frozenset({"bleu", "fuzzy_match", "rouge_l"})


def eval_body(**changes: Any) -> dict[str, Any]:
    return {
        "questions": [
            {"text": "What is tea?"},
            {"id": "play", "text": "Be a pirate.", "category": "roleplay"},
            {"turns": ["One?", "And then?"], "category": "math", "reference": "1"},
        ],
        "dimensions": ["general"],
        "judge": {"model": "judge"},
        **changes,
    }


def openai_eval(*criteria: dict[str, Any], **changes: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"q": {"type": "string"}, "a": {"type": "string"}}}
    return {
        "name": "sums",
        "data_source_config": {
            "type": "custom",
            "item_schema": schema,
            "include_sample_schema": True,
        },
        "testing_criteria": list(criteria) or [string_check()],
        **changes,
    }


def string_check(**changes: Any) -> dict[str, Any]:
    return {
        "type": "string_check",
        "name": "right",
        "operation": "eq",
        "input": "{{sample.output_text}}",
        "reference": "{{item.a}}",
        **changes,
    }


def completions(*items: dict[str, Any], **changes: Any) -> dict[str, Any]:
    template = [{"role": "user", "content": "{{item.q}}"}]
    return {
        "data_source": {
            "type": "completions",
            "source": {
                "type": "file_content",
                "content": [{"item": item} for item in items or ({"q": "1 + 1", "a": "2"},)],
            },
            "input_messages": {"type": "template", "template": template},
            "model": "alpha",
            **changes,
        }
    }


class Fleet:
    """What is served, and who was asked."""

    def __init__(self, *served: str) -> None:
        self.served = served or SERVED
        self.looked_at = 0
        self.asked: list[str] = []
        self.fault: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def models(self) -> dict[str, object]:
        self.looked_at += 1
        await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        return dict.fromkeys(self.served, object())

    async def ask(self, judge: Judge) -> None:
        self.asked.append(judge.model)
        if self.fault is not None:
            raise self.fault

    def reader(self) -> SpecReader:
        return SpecReader(self.models, question_set, METRICS, self.ask)


def question_set(name: str) -> list[Question]:
    if name != "own":
        msg = "there is no such set"
        raise NotFound(msg)
    return [
        Question(id="own-1", turns=["Why?"], category="generic", language="en"),
        Question(id="own-2", turns=["Be a cat."], category="roleplay", language="en"),
    ]


async def no_earlier(_: str) -> Earlier:
    msg = "there is no such run"
    raise NotFound(msg)


async def read_eval(body: dict[str, Any], fleet: Fleet | None = None) -> EvalSpec:
    return await (fleet or Fleet()).reader().eval_spec(body)


async def read_run(
    body: dict[str, Any], spec: EvalSpec, fleet: Fleet | None = None, earlier: Any = no_earlier
) -> Any:
    return await (fleet or Fleet()).reader().run_request(body, spec, earlier)


async def faults_of(reading: Any) -> dict[str, str]:
    """Return the faults of what is read, by their pointers."""
    try:
        await reading
    except InvalidSpec as fault:
        return {each["pointer"]: each["message"] for each in fault.as_openai()["error"]["errors"]}
    return {}
