"""The rows of an OpenAI run: items, the prompt that is made of each, and answers beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import orjson

from services.evaluator.sealed_rows import Sealing
from services.evaluator.specs.findings import Findings, child
from services.evaluator.specs.item_schema import misfits
from services.evaluator.specs.messages import read_messages
from services.evaluator.specs.openai_eval import item_schema
from services.evaluator.specs.shapes import Object, as_list, as_object
from services.evaluator.specs.templates import (
    MISSING,
    check_template,
    render,
    speaks_of_sample,
    value_at,
)
from shared.protocol.evals.base import MAX_QUESTIONS, MAX_TEXT
from shared.protocol.evals.run import GivenAnswer
from shared.protocol.evals.spec import EvalSpec, Message, Question

_WHERE = "/data_source/source/content"


@dataclass(frozen=True)
class Prompt:
    """How a row becomes a prompt: by a template, or it holds the messages itself."""

    template: list[Message] | None = None
    reference: str = ""


@dataclass
class Rows:
    """What was read of the rows."""

    questions: Sequence[Question] = ()
    answers: Sequence[GivenAnswer] = ()


def read_prompt(value: object, spec: EvalSpec, findings: Findings) -> Prompt | None:
    """Return how prompts are made, or None with faults."""
    where = "/data_source/input_messages"
    content = as_object(value, findings, where)
    if content is None:
        return None
    match content.get("type"):
        case "template":
            at = child(where, "template")
            read = read_messages(content.get("template"), findings, at)
            for pointer, message in read:
                check_template(message.content, item_schema(spec), findings, pointer)
                if speaks_of_sample(message.content):
                    findings.add(pointer, "a prompt knows no sample")
            return Prompt([message for _, message in read])
        case "item_reference":
            reference = content.get("item_reference")
            if not isinstance(reference, str) or not reference.startswith("item."):
                text = "should be such as 'item.messages'"
                findings.add(child(where, "item_reference"), text)
                return None
            return Prompt(reference=reference.removeprefix("item."))
        case _:
            findings.add(child(where, "type"), "should be 'template' or 'item_reference'")
            return None


def read_rows(
    value: object, spec: EvalSpec, findings: Findings, prompt: Prompt | None, *, needed: bool
) -> Rows:
    """Return questions, and answers where rows bring them.

    Args:
        value: the list.
        spec: the eval.
        findings: gets the faults.
        prompt: how prompts are made; None: nobody is asked.
        needed: whether each row must bring an answer.
    """
    questions, answers = Sealing(Question), Sealing(GivenAnswer)
    schema = item_schema(spec)
    for place, row in enumerate(as_list(value, findings, _WHERE, MAX_QUESTIONS, least=1)):
        where = child(_WHERE, place)
        content = as_object(row, findings, where)
        if content is None:
            continue
        for name in content.keys() - {"item", "sample"}:
            findings.add(child(where, name), "is unknown")
        item = as_object(content.get("item"), findings, child(where, "item"))
        if item is None:
            continue
        unfitting = list(misfits(item, schema, child(where, "item")))
        for pointer, text in unfitting:
            findings.add(pointer, text)
        if unfitting:
            continue
        question = _question(str(place + 1), item, prompt, findings, where)
        if question is None:
            continue
        questions.add(question)
        if prompt is None:
            text = _sample(content.get("sample"), findings, where, needed=needed)
            answers.add(GivenAnswer(question_id=str(place + 1), turns=[text or ""]))
    return Rows(questions.rows(), answers.rows())


def _question(
    name: str, item: Object, prompt: Prompt | None, findings: Findings, where: str
) -> Question | None:
    if prompt is None:
        # Nobody is asked; a reader of the results sees the row.
        shown = orjson.dumps(item).decode()[:MAX_TEXT]
        return Question(id=name, turns=[shown], item=item)
    messages = _messages(item, prompt, findings, child(where, "item"))
    if messages is None:
        return None
    asked = [message.content for message in messages if message.role == "user"]
    if not asked or not asked[-1].strip():
        findings.add(where, "makes a prompt without a text of the user")
        return None
    return Question(id=name, turns=[asked[-1]], messages=messages, item=item)


def _messages(item: Object, prompt: Prompt, findings: Findings, where: str) -> list[Message] | None:
    """Return the prompt of a row, or None with a fault."""
    if prompt.template is None:
        value = value_at(prompt.reference, item)
        if value is MISSING:
            findings.add(where, "lacks what 'item_reference' names")
            return None
        if isinstance(value, str):
            value = [{"role": "user", "content": value}]
        read = read_messages(value, findings, child(where, *prompt.reference.split(".")))
        return [message for _, message in read] or None
    made: list[Message] = []
    for message in prompt.template:
        text = render(message.content, item)
        if text is None:
            findings.add(where, "lacks what the template names")
            return None
        if len(text) > MAX_TEXT:
            findings.add(where, f"makes a message of more than {MAX_TEXT} characters")
            return None
        made.append(Message(role=message.role, content=text))
    return made


def _sample(value: object, findings: Findings, where: str, *, needed: bool) -> str | None:
    """Return the text of the answer that a row brings."""
    at = child(where, "sample")
    if value is None:
        if needed:
            findings.add(at, "is missing: a grader reads it")
        return None
    sample = as_object(value, findings, at)
    if sample is None:
        return None
    text: Any = sample.get("output_text")
    if text is None and isinstance(sample.get("choices"), list):
        choices = cast("list[Any]", sample["choices"])
        text = value_at("message.content", choices[0] if choices else {})
    if not isinstance(text, str) or len(text) > MAX_TEXT:
        findings.add(child(at, "output_text"), f"should be a text of at most {MAX_TEXT} characters")
        return None
    return text
