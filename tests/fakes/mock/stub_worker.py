"""The stub as a worker: what it answers to a controller, and to other gateways."""

from __future__ import annotations

import asyncio

import orjson

from shared.http.server import bind
from shared.protocol import sse
from shared.protocol.frames import (
    MEDIA_TYPE,
    EndFrame,
    KeepaliveFrame,
    StartFrame,
    TokensFrame,
    encode,
)
from shared.protocol.workers import Load, ModelInfo, ServiceRecord, State
from tests.fakes.mock.stub import (
    Reply,
    Stream,
    StubConnection,
    Wheel,
    chunk,
    chunked_head,
    whole,
)

CREATED = 1_700_000_000
TEXT = "The quick brown fox jumps over the lazy dog. " * 5
_FRAMES = MEDIA_TYPE.encode()
_EVENTS = b"text/event-stream; charset=utf-8"
_TOKENS = 50
_LAST_CHUNK = b"0\r\n\r\n"
_LOAD = Load(
    max_num_seqs=4096,
    kv_tokens_total=10_000_000,
    tokens_per_second=100_000,
    prefill_tokens_per_second=1_000_000,
)


class OpenAIReplies:
    """Fixed answers of one model: half a kilobyte at once, or `chunks` events.

    An idle one sends keepalives and nothing else.
    """

    def __init__(self, model: str, chunks: int, *, idle: bool = False) -> None:
        self._model = model
        self._listed = whole(
            orjson.dumps({"object": "list", "data": [{"id": model, "object": "model"}]})
        )
        self._other = whole(orjson.dumps({"status": "ready", "model_path": model}))
        self._gone = b"HTTP/1.1 204 No Content\r\n\r\n"
        body = self._body()
        self._plain = whole(body)
        self._framed = whole(
            encode(self._start())
            + encode(TokensFrame(1, 0, tuple(range(_TOKENS)), b""))
            + encode(EndFrame(["stop"], 20, _TOKENS, body)),
            _FRAMES,
        )
        self._plain_stream = self._events(chunks, idle=idle)
        self._framed_stream = self._frames(chunks, idle=idle)

    def __call__(self, path: bytes, head: bytes, body: bytes) -> bytes | Stream:
        """Answer one request."""
        if path.endswith(b"completions"):
            framed = b"\r\nx-llmzoo-frames: 1" in head
            if b'"stream":true' in body or b'"stream": true' in body:
                return self._framed_stream if framed else self._plain_stream
            return self._framed if framed else self._plain
        if path == b"/v1/models":
            return self._listed
        return self._gone if path.endswith(b"/abort") else self._other

    def _start(self) -> StartFrame:
        return StartFrame("chatcmpl-stub", CREATED, self._model, 7, 20, "stub")

    def _body(self) -> bytes:
        message = {"role": "assistant", "content": TEXT, "refusal": None}
        usage = {"prompt_tokens": 20, "completion_tokens": _TOKENS, "total_tokens": 20 + _TOKENS}
        return orjson.dumps(
            {
                "id": "chatcmpl-stub",
                "object": "chat.completion",
                "created": CREATED,
                "model": self._model,
                "choices": [
                    {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
                ],
                "usage": usage,
            }
        )

    def _event(self, delta: dict[str, str], reason: str | None = None) -> bytes:
        return sse.event(
            {
                "id": "chatcmpl-stub",
                "object": "chat.completion.chunk",
                "created": CREATED,
                "model": self._model,
                "choices": [
                    {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
                ],
            }
        )

    def _events(self, chunks: int, *, idle: bool) -> Stream:
        opening = self._event({"role": "assistant", "content": ""})
        head = chunked_head(_EVENTS)
        if idle:
            return Stream(head + chunk(opening), [chunk(b": keepalive\n\n")], b"", endless=True)
        pieces = [chunk(self._event({"content": f" word{i}"})) for i in range(chunks)]
        pieces[0] = chunk(opening + self._event({"content": " word0"}))
        tail = chunk(self._event({}, "stop") + sse.DONE) + _LAST_CHUNK
        return Stream(head, pieces, tail)

    def _frames(self, chunks: int, *, idle: bool) -> Stream:
        head = chunked_head(_FRAMES) + chunk(encode(self._start()))
        if idle:
            return Stream(head, [chunk(encode(KeepaliveFrame()))], b"", endless=True)
        first = self._event({"role": "assistant", "content": ""})
        texts = [self._event({"content": f" word{i}"}) for i in range(chunks)]
        texts[0] = first + texts[0]
        pieces = [
            chunk(encode(TokensFrame(number, 0, (number,), text)))
            for number, text in enumerate(texts, 1)
        ]
        end = EndFrame(["stop"], 20, chunks, self._event({}, "stop") + sse.DONE)
        return Stream(head, pieces, chunk(encode(end)) + _LAST_CHUNK)


class StubWorker:
    """Serves fixed replies, and says in the registry that it is hardly busy."""

    def __init__(self, reply: Reply, wheel: Wheel, *, model: str, port: int = 0) -> None:
        self.port = port
        self.draining = False
        self.idle = True
        self._reply = reply
        self._wheel = wheel
        self._model = model
        self._server: asyncio.Server | None = None

    async def start(self) -> StubWorker:
        sock = bind("127.0.0.1", self.port).sock
        self.port = sock.getsockname()[1]
        self._server = await asyncio.get_running_loop().create_server(
            lambda: StubConnection(self._reply, self._wheel), sock=sock, backlog=2048
        )
        return self

    async def stop(self) -> None:
        self._wheel.stop()
        if self._server is not None:
            self._server.close()

    def hand_back(self) -> None:
        """Do nothing: what a stub says goes on nowhere."""

    def record(self) -> ServiceRecord:
        info = ModelInfo(id=self._model, max_model_len=8192, created=CREATED, fingerprint="stub")
        return ServiceRecord(
            id=f"stub-{self.port}",
            kind="worker",
            address=f"http://127.0.0.1:{self.port}",
            incarnation="",
            state=State.DRAINING if self.draining else State.READY,
            models=(info,),
            load=_LOAD,
        )
