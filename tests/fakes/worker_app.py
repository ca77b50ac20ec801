"""A fake worker: a real socket, our frames, and a script that says what to answer.

It speaks HTTP by itself, byte by byte, so that it can also break it. A script is a function from
the request to the steps of the answer:

    Frame            sent in a chunk of its own
    bytes            sent as they are: an `http_chunk` cut anyhow, or no HTTP at all
    asyncio.Event    waited for
    Refusal          a whole answer with a status
    Cut              the connection is reset
    Silence          nothing more is sent, the connection stays
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

import orjson

from shared.protocol.attach import KEY_HEADER
from shared.protocol.frames import (
    MEDIA_TYPE,
    EndFrame,
    Frame,
    StartFrame,
    TokensFrame,
    encode,
)
from shared.protocol.sse import DONE, event
from shared.protocol.workers import Load, ModelInfo, ServiceRecord, State


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, object]:
        return orjson.loads(self.body)


@dataclass(frozen=True, slots=True)
class Refusal:
    status: int
    body: bytes = b'{"error":{"message":"no","type":"invalid_request_error"}}'
    headers: dict[str, str] = field(default_factory=dict)


class Cut:
    """The connection is reset here."""


class Silence:
    """Nothing comes from here on."""


Step = Frame | bytes | asyncio.Event | Refusal | Cut | Silence
Script = Callable[[Asked], Sequence[Step]]


def chunk(text: str) -> bytes:
    """Return the event of one piece of text."""
    return event({"object": "chat.completion.chunk", "choices": [{"delta": {"content": text}}]})


def http_chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def start(model: str = "toy", prompt_tokens: int = 3) -> StartFrame:
    return StartFrame("chatcmpl-1", 1_700_000_000, model, 7, prompt_tokens, "f")


def tokens(number: int, text: str, choice: int = 0) -> TokensFrame:
    return TokensFrame(number, choice, (100 + number,), chunk(text))


def end(completion_tokens: int, data: bytes = DONE) -> EndFrame:
    return EndFrame(["stop"], 3, completion_tokens, data)


def unary_body(texts: Sequence[str]) -> bytes:
    message = {"role": "assistant", "content": "".join(texts)}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return orjson.dumps({"object": "chat.completion", "choices": [choice]})


def answer(*texts: str) -> Script:
    """Return the script of a whole, good answer, streamed or not as the request asks."""

    def script(asked: Asked) -> list[Step]:
        streamed = asked.json.get("stream") is True
        numbered = enumerate(texts, 1)
        return [
            start(),
            *(
                tokens(n, text) if streamed else TokensFrame(n, 0, (100 + n,), b"")
                for n, text in numbered
            ),
            end(len(texts), DONE if streamed else unary_body(texts)),
        ]

    return script


def steps(*given: Step) -> Script:
    """Return the script that gives these steps to every request."""
    return lambda _: given


class FakeWorker:
    """Serves one model by script; remembers what it was asked and what was aborted."""

    def __init__(self, script: Script, *, model: str = "toy", name: str = "worker-1") -> None:
        self.script = script
        self.model = model
        self.name = name
        self.state = State.READY
        self.progress: float | None = None
        self.load = Load(max_num_seqs=4)
        self.prefixes = ""
        self.fingerprint = "f"
        self.asked: list[Asked] = []
        self.aborted: list[str] = []
        self.aborted_for: set[str] = set()
        self.running = 0
        self.sent_bytes = 0
        self.raw_answer = b""
        self.accepted = 0
        self.changed = asyncio.Condition()
        self.port = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def open_connections(self) -> int:
        return len(self._writers)

    async def start(self) -> FakeWorker:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        """Close the listener and every connection at once, as a killed process does."""
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def record(self) -> ServiceRecord:
        """Return what its heartbeat says."""
        return ServiceRecord(
            id=self.name,
            kind="worker",
            address=self.address,
            incarnation="",
            state=self.state,
            progress=self.progress,
            models=(
                ModelInfo(
                    id=self.model,
                    max_model_len=512,
                    created=1_700_000_000,
                    fingerprint=self.fingerprint,
                ),
            ),
            load=self.load,
            prefixes=self.prefixes,
        )

    async def until(self, condition: Callable[[], bool], seconds: float = 10.0) -> None:
        """Wait until something that the worker sees holds."""
        async with asyncio.timeout(seconds), self.changed:
            await self.changed.wait_for(condition)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        self.accepted += 1
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while True:
                    await self._serve(await read_request(reader), reader, writer)
        except asyncio.CancelledError:
            pass
        finally:
            writer.close()
            self._writers.discard(writer)
            self._tasks.discard(task)
            await self._tell()

    async def _serve(
        self, asked: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if asked.path.startswith("/internal/requests/"):
            self.aborted.append(asked.path.split("/")[3])
            self.aborted_for.add(asked.headers.get(KEY_HEADER, ""))
            await self._tell()
            writer.write(b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n")
            return
        self.asked.append(asked)
        if self.raw_answer:
            writer.write(self.raw_answer)
            return
        self.running += 1
        await self._tell()
        playing = asyncio.create_task(self._play(self.script(asked), writer))
        closed = asyncio.create_task(closed_by_peer(reader))
        try:
            await asyncio.wait({playing, closed}, return_when=asyncio.FIRST_COMPLETED)
            if not playing.done():
                raise ConnectionResetError
            playing.result()
        finally:
            self.running -= 1
            for task in (playing, closed):
                task.cancel()
            await asyncio.gather(playing, closed, return_exceptions=True)
            await self._tell()

    async def _play(self, given: Sequence[Step], writer: asyncio.StreamWriter) -> None:
        head_sent = False
        for step in given:
            if isinstance(step, Refusal):
                writer.write(_refusal(step))
                return
            if not head_sent and not isinstance(step, Cut | Silence | asyncio.Event):
                head_sent = True
                writer.write(
                    f"HTTP/1.1 200 OK\r\ncontent-type: {MEDIA_TYPE}\r\n"
                    "transfer-encoding: chunked\r\n\r\n".encode()
                )
            match step:
                case asyncio.Event():
                    await step.wait()
                case Cut():
                    await writer.drain()
                    writer.transport.abort()
                    raise ConnectionResetError
                case Silence():
                    await asyncio.Event().wait()
                case bytes():
                    writer.write(step)
                case _:
                    frame = encode(step)
                    writer.write(http_chunk(frame))
                    self.sent_bytes += len(frame)
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    async def _tell(self) -> None:
        async with self.changed:
            self.changed.notify_all()


async def read_request(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Asked(head[0].split(" ")[1], headers, body)


async def closed_by_peer(reader: asyncio.StreamReader) -> None:
    """Return when the peer closes; it sends nothing while it is being answered."""
    await reader.read(1)


def _refusal(refusal: Refusal) -> bytes:
    headers = {"content-length": str(len(refusal.body)), **refusal.headers}
    lines = [f"HTTP/1.1 {refusal.status} X", *(f"{n}: {v}" for n, v in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + refusal.body


@contextlib.asynccontextmanager
async def serving(*workers: FakeWorker) -> AsyncIterator[None]:
    """Start workers for the time of the context."""
    for worker in workers:
        await worker.start()
    try:
        yield
    finally:
        for worker in workers:
            await worker.stop()
