"""FastChat's side of the stub: a worker that its controller and API server take for one of theirs.

    python -m tests.bench.gateway.fastchat_worker --controller http://127.0.0.1:21001

Prints `{"ports": [...]}` when it is registered.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal

import httpx
import orjson
import uvloop

from tests.fakes.mock.stub import Stream, Wheel, chunk, chunked_head, whole
from tests.fakes.mock.stub_worker import TEXT, StubWorker
from tests.fakes.waiting import eventually

_LAST_CHUNK = b"0\r\n\r\n"
_CONVERSATION = {
    "name": "one_shot",
    "system_template": "{system_message}",
    "system_message": "",
    "roles": ["Human", "Assistant"],
    "messages": [],
    "offset": 0,
    "sep_style": 2,
    "sep": "\n### ",
    "sep2": None,
    "stop_str": "###",
    "stop_token_ids": None,
}


def piece(text: str, reason: str | None = None) -> dict[str, object]:
    usage = {"prompt_tokens": 20, "completion_tokens": 50, "total_tokens": 70}
    return {"text": text, "error_code": 0, "usage": usage, "finish_reason": reason}


class FastChatReplies:
    """The same half kilobyte at once, and the same words one by one, as FastChat's workers tell."""

    def __init__(self, model: str, chunks: int) -> None:
        texts = ["".join(f" word{i}" for i in range(count)) for count in range(1, chunks + 1)]
        pieces = [chunk(orjson.dumps(piece(text)) + b"\0") for text in texts]
        last = chunk(orjson.dumps(piece(texts[-1], "stop")) + b"\0")
        self._stream = Stream(chunked_head(b"application/octet-stream"), pieces, last + _LAST_CHUNK)
        status = {"model_names": [model], "speed": 1, "queue_length": 0}
        self._replies = {
            b"/worker_generate": whole(orjson.dumps(piece(TEXT, "stop"))),
            b"/worker_get_conv_template": whole(orjson.dumps({"conv": _CONVERSATION})),
            b"/model_details": whole(orjson.dumps({"context_length": 8192})),
            b"/count_token": whole(orjson.dumps({"count": 20, "error_code": 0})),
        }
        self._status = whole(orjson.dumps(status))

    def __call__(self, path: bytes, head: bytes, body: bytes) -> bytes | Stream:
        del head, body
        if path == b"/worker_generate_stream":
            return self._stream
        return self._replies.get(path, self._status)


async def serve(options: argparse.Namespace) -> None:
    replies = FastChatReplies(options.model, options.chunks)
    worker = await StubWorker(replies, Wheel(options.gap), model=options.model).start()
    told = {
        "worker_name": f"http://127.0.0.1:{worker.port}",
        "check_heart_beat": False,
        "worker_status": {"model_names": [options.model], "speed": 1, "queue_length": 0},
    }
    async with httpx.AsyncClient(trust_env=False) as client:

        async def registered() -> bool:
            with contextlib.suppress(httpx.ConnectError):
                answer = await client.post(f"{options.controller}/register_worker", json=told)
                return answer.is_success
            return False

        await eventually(registered, 60.0)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    print(json.dumps({"ports": [worker.port]}), flush=True)
    await stopped.wait()
    await worker.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--controller", required=True)
    parser.add_argument("--model", default="mock")
    parser.add_argument("--chunks", type=int, default=100)
    parser.add_argument("--gap", type=float, default=0.02)
    uvloop.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
