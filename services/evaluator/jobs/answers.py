"""Asking a candidate: the chat request for one question. Sends nothing."""

from __future__ import annotations

from typing import Any

from shared.protocol.evals import Candidate, RunSpec


def answer_request(candidate: Candidate, question: str, spec: RunSpec) -> dict[str, Any]:
    """Return the body of the request; what the run leaves open is left to the server."""
    messages = [{"role": "user", "content": question}]
    if candidate.system is not None:
        messages.insert(0, {"role": "system", "content": candidate.system})
    body: dict[str, Any] = {"model": candidate.model, "messages": messages}
    if spec.temperature is not None:
        body["temperature"] = spec.temperature
    if spec.max_tokens is not None:
        body["max_tokens"] = spec.max_tokens
    return body
