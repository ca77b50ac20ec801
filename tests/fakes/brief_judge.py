"""A judge with an opinion, as an OpenAI-compatible server: the shorter answer is the better one.

It takes a schema as hosted judges do, and answers each pair as the schema asks for.
"""

from __future__ import annotations

import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import orjson

_SHOWN = re.compile(
    r"^\[Assistant ([AB]) (\w+)\]\n(.*?)\n\[end of Assistant \1 \2\]$", re.MULTILINE | re.DOTALL
)


class BriefJudge:
    """Runs in threads of its own for the time of its context."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        judge = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = orjson.loads(self.rfile.read(int(self.headers["content-length"])))
                judge.asked.append(body)
                raw = orjson.dumps(_completion(body))
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *_: object) -> None:
                pass

        return Handler


def _completion(body: dict[str, Any]) -> dict[str, Any]:
    prompt = body["messages"][-1]["content"]
    lengths = {letter: len(text) for letter, _, text in _SHOWN.findall(prompt)}
    better = "tie" if lengths["A"] == lengths["B"] else min(lengths, key=lengths.__getitem__)
    said = orjson.dumps({"reason": "It says it in fewer words.", "better": better}).decode()
    message = {"role": "assistant", "content": said}
    usage = {"prompt_tokens": len(prompt) // 4, "completion_tokens": 12}
    return {
        "id": "judgement",
        "model": body["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": usage,
    }
