"""The bounds of `metadata`, as OpenAI's API has them."""

from __future__ import annotations

from typing import cast

from services.evaluator.specs.findings import Findings, child

_MOST, _LONGEST_KEY, _LONGEST_VALUE = 16, 64, 512


def check_metadata(value: object, findings: Findings) -> None:
    """Note what is too much; what is no object of texts is found by its shape."""
    if not isinstance(value, dict):
        return
    pairs = cast("dict[str, object]", value)
    if len(pairs) > _MOST:
        findings.add("/metadata", f"has more than {_MOST} keys")
        return
    for key, text in pairs.items():
        if len(key) > _LONGEST_KEY:
            findings.add(
                child("/metadata", key), f"is a key of more than {_LONGEST_KEY} characters"
            )
        elif isinstance(text, str) and len(text) > _LONGEST_VALUE:
            findings.add(child("/metadata", key), f"is longer than {_LONGEST_VALUE} characters")
