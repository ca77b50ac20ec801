"""Models in the test's own process that count tokens in a plain way.

A token is four letters of ASCII or one other character. Answers are as long as they may be or as
is typical; verdicts are of the form that is asked for, their reasons as long as an answer.
"""

from __future__ import annotations

import json
import re
from itertools import cycle
from typing import Any

from tests.fakes.eval_calls import Ask, Said, ScriptedCalls

TYPICAL = 256
"""Tokens of an answer, as a dry run has them where nothing was seen."""

_VERDICT = 20
_LETTERS = str.maketrans("XYZN", "1237")


def count(text: str) -> int:
    others = len(re.findall(r"[^\x00-\x7f]", text))
    return (len(text) - others) // 4 + others


class CountingModels(ScriptedCalls):
    """`prompt` and `completion` add up; schemas count as a part of prompts if `counts_schemas`."""

    def __init__(
        self, text: str, *, counts_schemas: bool = False, typical: int = TYPICAL, mute: bool = False
    ) -> None:
        super().__init__(self._said)
        self._text = text
        self._counts_schemas = counts_schemas
        self._typical = typical
        self._mute = mute
        self.prompt = self.completion = 0

    def _said(self, ask: Ask) -> Said:
        body = ask.body
        prompt = sum(count(message["content"]) for message in body["messages"])
        if self._counts_schemas and "response_format" in body:
            prompt += count(json.dumps(body["response_format"]))
        longest = min(self._typical, body["max_tokens"])
        judging = ask.model.startswith("judge") and not self._mute
        text = self._verdict(body, longest) if judging else self._filled(longest)
        completion = count(text)
        self.prompt += prompt
        self.completion += completion
        return Said(text, "stop", prompt, completion, cost_usd=0.0)

    def _filled(self, tokens: int) -> str:
        letters, text = cycle(self._text), ""
        while count(text) < tokens:
            text += next(letters)
        return text

    def _verdict(self, body: dict[str, Any], tokens: int) -> str:
        reason = self._filled(tokens - _VERDICT)
        if "response_format" not in body:
            line = body["messages"][-1]["content"].splitlines()[-1]
            mark, colon, form = re.split("([:\uff1a])", line, maxsplit=1)
            return f"{reason}\n{mark}{colon}{form.translate(_LETTERS)}"
        schema = body["response_format"]["json_schema"]["schema"]
        return json.dumps(_fitting(schema, reason), ensure_ascii=False)


def _fitting(schema: dict[str, Any], reason: str) -> Any:
    if "properties" in schema:
        return {name: _fitting(each, reason) for name, each in schema["properties"].items()}
    if "enum" in schema:
        return schema["enum"][0]
    return reason if schema["type"] == "string" else schema.get("minimum", 1)
