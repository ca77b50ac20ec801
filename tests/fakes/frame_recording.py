"""Answers as recordings of frames, and the requests that resume them after any frame."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import orjson

from services.worker.served_model import ServedModel
from shared.protocol.attach import ATTACH_PATH, encode_attach
from shared.protocol.event_id import EventId
from shared.protocol.frames import (
    EndFrame,
    Frame,
    FrameDecoder,
    KeepaliveFrame,
    StartFrame,
    TokensFrame,
)
from shared.protocol.resume import RESUME_PATH, encode_resume
from shared.protocol.sse import SSEDecoder
from tests.fakes.lockstep import Gate, in_lockstep
from tests.fakes.running_worker import FRAMED, INTERNAL, RunningWorker


@dataclass(frozen=True)
class Recording:
    """One request, and all frames of its answer but keepalives."""

    path: Any
    body: dict[str, Any]
    start: StartFrame
    tokens: list[TokensFrame]
    end: EndFrame
    choices: int

    def resumption(self, after: int, *, deterministic: bool = True) -> bytes:
        """Return the request that goes on after that many frames of tokens."""
        return encode_resume(
            self.path,
            orjson.dumps(self.body),
            self.start,
            [self.ids(choice, after) for choice in range(self.choices)],
            after,
            deterministic=deterministic,
        )

    def ids(self, choice: int, until: int | None = None) -> list[int]:
        received = self.tokens[:until]
        return [i for frame in received if frame.choice == choice for i in frame.token_ids]

    def untold(self, after: int) -> int:
        """Return how many tokens before that frame have logprobs that are still to be told."""
        emitted = sum(len(frame.token_ids) for frame in self.tokens[:after])
        told = sum(_entries(frame.data) for frame in self.tokens[:after])
        return emitted - told


def unnamed(frame: TokensFrame) -> TokensFrame:
    """Return the frame without its event id, which differs from worker to worker."""
    return frame._replace(data=re.sub(rb"(?m)^id: .*\n", b"", frame.data))


def assert_event_ids(frames: list[Frame]) -> None:
    """Check that each frame that says something has one id, in its last event."""
    workers: set[str] = set()
    answer = frames[0].id
    for frame in frames:
        lines = frame.data.split(b"\n") if isinstance(frame, TokensFrame | EndFrame) else []
        ids = [index for index, line in enumerate(lines) if line.startswith(b"id:")]
        if isinstance(frame, TokensFrame) and frame.data:
            last = max(i for i, line in enumerate(lines) if line.startswith(b"data: "))
            assert ids == [last - 1]
            found = EventId.parse(lines[ids[0]].removeprefix(b"id: ").decode())
            assert (found.answer, found.number) == (answer, frame.sequence_number)
            workers.add(found.worker)
        else:
            assert ids == []
    assert len(workers) < 2


async def answered(
    worker: LockstepWorker, path: str, content: bytes, most: int | None = None
) -> list[Frame]:
    """Return an answer's frames but keepalives; the gate is told of each.

    The connection is closed after `most` frames of tokens; those tokens the gate hears of then.
    """
    found: list[Frame] = []
    decoder = FrameDecoder()
    headers = FRAMED if path.startswith("/v1/") else INTERNAL
    async with worker.client.stream("POST", path, content=content, headers=headers) as answer:
        assert answer.status_code == 200, await answer.aread()
        async for piece in answer.aiter_raw():
            for frame in decoder.feed(piece):
                if isinstance(frame, TokensFrame):
                    worker.gate.read(len(frame.token_ids))
                if not isinstance(frame, KeepaliveFrame):
                    found.append(frame)
            if most is not None and len(found) > most:
                del found[most + 1 :]
                break
    assert decoder.pending == 0
    assert_event_ids(found)
    return found


async def record(worker: LockstepWorker, path: str, body: dict[str, Any]) -> Recording:
    """Return an answer with one token a frame."""
    worker.gate.begin()
    start, *tokens, end = await answered(worker, path, orjson.dumps(body))
    assert isinstance(start, StartFrame)
    assert isinstance(end, EndFrame)
    assert all(isinstance(f, TokensFrame) and len(f.token_ids) == 1 for f in tokens)
    return Recording(path, body, start, tokens, end, len(end.finish_reasons))


class LockstepWorker(RunningWorker):
    """A worker whose model `in_lockstep` has made."""

    gate: Gate

    @classmethod
    async def of(cls, served: ServedModel, **settings: Any) -> LockstepWorker:
        served, gate = in_lockstep(served)
        worker = await cls.with_model(served, **settings)
        worker.gate = gate
        return worker

    async def resume(self, recording: Recording, after: int) -> list[Frame]:
        asks = recording.body.get("logprobs") is not None
        self.gate.begin(recording.untold(after) if asks else 0)
        return await answered(self, RESUME_PATH, recording.resumption(after))

    async def attach(
        self, answer: str, after: int, body: dict[str, Any], key: str = ""
    ) -> list[Frame]:
        return await answered(self, ATTACH_PATH, encode_attach(answer, after, key, body))

    async def idle(self) -> None:
        # What was drawn after a stop string, while its end was on its way, nobody reads.
        self.gate.run_free()
        await super().idle()

    async def stop(self) -> None:
        await self.idle()
        await super().stop()


def _entries(data: bytes) -> int:
    """Count the tokens whose logprobs some events tell."""
    told = [event["choices"][0]["logprobs"] for event in map(orjson.loads, SSEDecoder().feed(data))]
    return sum(len(each.get("content") or each.get("tokens")) for each in told if each)
