"""The body of a judge's chat request.

Owns which parameters are sent: what the call is made of and nothing of the run, so that the same
review has the same call at every start and in every run.
"""

from __future__ import annotations

from typing import Any

from services.evaluator.judging.assessment import Form
from services.evaluator.judging.excerpts import excerpt
from services.evaluator.judging.kinds.kind import Kind
from services.evaluator.judging.markers import neutralised
from services.evaluator.judging.schemas import response_format
from services.evaluator.judging.wording import Wording
from shared.protocol.evals.item import Verdict
from shared.protocol.evals.spec import Judge

_TOP_LOGPROBS = 20
_SHOWN_AGAIN = 8_000
"""Characters of an unreadable reply that the judge is shown."""

Messages = list[dict[str, str]]


def forms_of(judge: Judge) -> tuple[Form, ...]:
    """Return the forms in which a judge is asked, in the order to try."""
    match judge.response_format:
        case "auto":
            return (Form.SCHEMA, Form.TEXT)
        case "json_schema":
            return (Form.SCHEMA,)
        case "text":
            return (Form.TEXT,)


def judge_request(
    judge: Judge, messages: Messages, form: Form, kind: Kind, repeat: int
) -> dict[str, Any]:
    """Return the body; each repeat has a seed of its own, so each is a call of its own."""
    sampling = judge.sampling
    body: dict[str, Any] = {
        "model": judge.model,
        "messages": messages,
        "seed": (sampling.seed or 0) + repeat,
    }
    if sampling.max_completion_tokens is None:
        body["max_tokens"] = sampling.max_tokens
    else:
        body["max_completion_tokens"] = sampling.max_completion_tokens
    if sampling.temperature is not None:
        body["temperature"] = sampling.temperature
    if sampling.top_p is not None:
        body["top_p"] = sampling.top_p
    if form is Form.SCHEMA:
        body["response_format"] = response_format(kind.schema())
    if judge.logprobs:
        body |= {"logprobs": True, "top_logprobs": _TOP_LOGPROBS}
    return body


def form_text(kind: Kind, form: Form, wording: Wording, mark: str) -> str:
    """Return what a judge is told of the form of the reply, the form itself last."""
    if form is Form.SCHEMA:
        how, shape = kind.schema_form(wording)
        return f"{wording.form_schema.replace('{how}', how)}\n{shape}"
    how, shape = kind.text_form(wording, mark)
    return f"{wording.reason} {wording.form_text.replace('{how}', how)}\n{shape}"


def asked_again(
    body: dict[str, Any], reply: str, verdict: Verdict, told: str, wording: Wording
) -> dict[str, Any]:
    """Return `body` with the judge's reply, what was wrong with it, and the form once more."""
    shown = neutralised(excerpt(reply, _SHOWN_AGAIN, f"[{wording.cut}]"))
    wrong = wording.again.replace("{fault}", wording.fault(verdict.rule))
    messages: Messages = [
        *body["messages"],
        {"role": "assistant", "content": shown if shown.strip() else f"[{wording.empty}]"},
        {"role": "user", "content": f"{wrong}\n{told}"},
    ]
    return {**body, "messages": messages}
