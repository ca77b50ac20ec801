"""The request of the controller's tests: one that any fake worker's model answers."""

from __future__ import annotations

CHAT = "/v1/chat/completions"
BODY = {"model": "toy", "messages": [{"role": "user", "content": "hello"}]}
STREAM = {**BODY, "stream": True}
