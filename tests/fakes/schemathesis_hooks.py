"""For schemathesis: most bodies ask for what is served, so that they go as far as the engine."""

from __future__ import annotations

from typing import Any

import schemathesis

from tests.fakes.scripted_model import MODEL

SERVED = frozenset(
    {"model", "messages", "prompt", "tokens", "stream", "n", "temperature", "top_p", "seed"}
    | {"max_tokens", "stop", "user", "add_special_tokens"}
)
_count = 0


@schemathesis.hook
def map_body(_context: Any, body: Any) -> Any:
    global _count  # noqa: PLW0603 - a program of its own, which has no other place
    _count += 1
    if isinstance(body, dict) and "model" in body and _count % 4:
        kept = {name: value for name, value in body.items() if name in SERVED or not _count % 2}
        return {**kept, "model": MODEL}
    return body
