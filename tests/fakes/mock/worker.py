"""One mock worker: a socket before a mock engine, and a record for the registry.

To a controller it is a worker (frames, abort, resume, attach, internal token); without the frames' header
it is an ordinary OpenAI server, so that other gateways can be measured against it. `GET
/mock/stats` and `/mock/released` tell what it did, `POST /mock/fault` sets a `Fault`; these answer
whatever is the matter with the worker, as long as it takes connections.
"""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass, field
from typing import Any

import orjson

from shared.errors import (
    FingerprintMismatch,
    LLMZooError,
    NotFound,
    Unauthorized,
    Unavailable,
)
from shared.http.server import bind
from shared.protocol.attach import ATTACH_PATH, KEY_HEADER, parse_attach
from shared.protocol.body import parse_object
from shared.protocol.frames import REQUEST_HEADER
from shared.protocol.prefix_chain import pack
from shared.protocol.priority import PRIORITY_HEADER
from shared.protocol.resume import RESUME_PATH, parse_resume
from shared.protocol.workers import ModelInfo, ServiceRecord, State
from tests.fakes.mock.answer import Answer
from tests.fakes.mock.asked import CHAT, COMPLETIONS, EngineRequest, make_out
from tests.fakes.mock.engine import MockEngine
from tests.fakes.mock.faults import Fault, FaultKind
from tests.fakes.mock.http import Asked, HttpConnection
from tests.fakes.mock.reader import Reader
from tests.fakes.mock.scheduler import Costs

_MOST_REPORTED_BLOCKS = 16_384


@dataclass(frozen=True, slots=True)
class MockSettings:
    """What all workers of a process share."""

    model: str = "mock"
    token: str = ""
    fingerprint: str = "mock"
    costs: Costs = field(default_factory=Costs)
    slow_start: float = 0.0
    speed: float = 1.0
    orphan_grace: float = 10.0


class MockWorker:
    """Serves until it is stopped."""

    def __init__(self, settings: MockSettings, *, port: int = 0, name: str = "") -> None:
        self.settings = settings
        self.port = port
        self.name = name
        self.behind = 0
        """Port of the proxy that stands before it, which its record names; 0: none does."""
        self.draining = False
        self.engine = MockEngine(settings.costs, settings.orphan_grace)
        self._fault = Fault()
        self._connections: set[HttpConnection] = set()
        self._server: asyncio.Server | None = None
        self._ready_at = 0.0
        self._turning: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def state(self) -> State:
        if self.draining:
            return State.DRAINING
        loading = self._fault.kind is FaultKind.LOADING or time.monotonic() < self._ready_at
        return State.LOADING if loading else State.READY

    @property
    def idle(self) -> bool:
        return not self.engine.answers

    async def start(self) -> MockWorker:
        self._ready_at = time.monotonic() + self.settings.slow_start
        await self._listen()
        self.name = self.name or f"mock-{self.port}"
        self.engine.start()
        return self

    def hand_back(self) -> None:
        """End what runs, for others to go on with."""
        self.engine.hand_back()

    async def stop(self) -> None:
        """Close everything at once, as a killed process does."""
        self.engine.stop()
        self._close()
        await asyncio.sleep(0)

    async def set_fault(self, fault: Fault) -> None:
        """Be faulty from now on; requests under way keep the fault that they began with."""
        self._fault = fault
        if fault.kind is FaultKind.REFUSE:
            self._close()
        elif self._server is None:
            await self._listen()

    def record(self) -> ServiceRecord:
        """Return what the heartbeat says; called on its thread."""
        settings, state = self.settings, self.state
        model = ModelInfo(
            id=settings.model,
            max_model_len=settings.costs.kv_tokens,
            created=1_700_000_000,
            fingerprint=settings.fingerprint,
        )
        return ServiceRecord(
            id=self.name,
            kind="worker",
            address=f"http://127.0.0.1:{self.behind or self.port}",
            incarnation="",
            state=state,
            progress=0.5 if state is State.LOADING else None,
            models=(model,),
            speed=settings.speed,
            load=self.engine.load(),
            prefixes=pack(self.engine.scheduler.cache.newest(_MOST_REPORTED_BLOCKS)),
        )

    def stats(self) -> dict[str, Any]:
        """Return counts since the start, and what is under way."""
        return {
            "name": self.name,
            "counts": dict(self.engine.counts),
            "load": self.engine.load().model_dump(),
            "answers": self.engine.answers,
            "open_connections": len(self._connections),
            "cached_blocks": len(self.engine.scheduler.cache),
        }

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        sock = bind("127.0.0.1", self.port).sock
        self.port = sock.getsockname()[1]
        self._server = await loop.create_server(
            lambda: HttpConnection(self._serve, self._connections), sock=sock, backlog=2048
        )

    def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in tuple(self._connections):
            connection.cut()

    def _serve(self, connection: HttpConnection, asked: Asked) -> None:
        if asked.path.startswith("/mock/"):
            self._steer(connection, asked)
            return
        if self._fault.kind is FaultKind.MUTE:
            self.engine.counts["unanswered"] += 1
            return
        try:
            if asked.path in {CHAT, COMPLETIONS, RESUME_PATH}:
                self._generate(connection, asked)
            elif asked.path == ATTACH_PATH:
                self._attach(connection, asked)
            else:
                self._other(connection, asked)
        except LLMZooError as fault:
            self.engine.counts[f"refused_{fault.status}"] += 1
            wait = None if fault.retry_after is None else max(1, math.ceil(fault.retry_after))
            connection.respond(fault.status, orjson.dumps(fault.as_openai()), retry_after=wait)

    def _generate(self, connection: HttpConnection, asked: Asked) -> None:
        framed = asked.path == RESUME_PATH or asked.headers.get(REQUEST_HEADER) == "1"
        if framed:
            self._check_token(asked)
        if self.state is not State.READY:
            raise Unavailable("The model is not ready.", retry_after=1.0)
        self._fault, fault = self._fault.after_one()
        if fault.kind is FaultKind.ERROR:
            connection.respond(fault.status, b'{"error":{"message":"A fault was ordered."}}')
            return
        reader = Reader(connection, fault)
        answer = Answer(
            self._make_out(asked, framed=framed),
            reader,
            asked.headers.get("x-request-id", ""),
            worker=self.name,
            key=asked.headers.get(KEY_HEADER, ""),
            framed=framed,
            batch=asked.headers.get(PRIORITY_HEADER.lower()) == "batch",
        )
        self.engine.enter(answer)
        connection.gone = lambda: self.engine.lose(answer, reader)
        answer.start(self.settings.model, self.settings.fingerprint)
        self.engine.settle(answer)
        self.engine.go_on()

    def _attach(self, connection: HttpConnection, asked: Asked) -> None:
        self._check_token(asked)
        wanted = parse_attach(parse_object(bytes(asked.body)))
        self._fault, fault = self._fault.after_one()
        reader = Reader(connection, fault)
        answer = self.engine.attach(wanted, reader, asked.headers.get("x-request-id", ""))
        if not answer.done:
            connection.gone = lambda: self.engine.lose(answer, reader)

    def _make_out(self, asked: Asked, *, framed: bool) -> EngineRequest:
        body = parse_object(bytes(asked.body))
        if asked.path != RESUME_PATH:
            return make_out(asked.path, body, self.settings.fingerprint, strict=framed)
        begun = parse_resume(body)
        if begun.deterministic and begun.start.fingerprint != self.settings.fingerprint:
            raise FingerprintMismatch("This worker would not continue it exactly.")
        fingerprint = begun.start.fingerprint
        made_out = make_out(begun.path, begun.body, fingerprint, strict=True, begun=begun)
        self.engine.counts["resumed"] += 1
        return made_out

    def _other(self, connection: HttpConnection, asked: Asked) -> None:
        match asked.path.split("/")[1:]:
            case ["internal", "requests", known_as, "abort"]:
                self._check_token(asked)
                self.engine.abort(known_as)
                connection.respond(204)
            case ["health", "live"] | ["metrics"] | ["version"]:
                connection.respond(200, b"{}")
            case ["health", *_]:
                ready = self.state is State.READY
                connection.respond(200 if ready else 503, orjson.dumps({"state": self.state}))
            case ["v1", "models", *_]:
                entry = {"id": self.settings.model, "object": "model", "owned_by": "mock"}
                connection.respond(200, orjson.dumps({"object": "list", "data": [entry]}))
            case ["get_model_info" | "model_info" | "get_server_info" | "server_info"]:
                # What routers of SGLang ask a worker.
                connection.respond(200, orjson.dumps({"model_path": self.settings.model}))
            case _:
                raise NotFound(f"There is no {asked.method} {asked.path}.")

    def _steer(self, connection: HttpConnection, asked: Asked) -> None:
        match asked.path:
            case "/mock/stats":
                connection.respond(200, orjson.dumps(self.stats()))
            case "/mock/released":
                connection.respond(200, orjson.dumps(list(self.engine.released)))
            case "/mock/fault":
                turning = asyncio.create_task(self.set_fault(Fault.parse(asked.body.decode())))
                self._turning.add(turning)
                turning.add_done_callback(self._turning.discard)
                connection.respond(204)
            case _:
                connection.respond(404)

    def _check_token(self, asked: Asked) -> None:
        token = self.settings.token
        if token and asked.headers.get("authorization") != f"Bearer {token}":
            raise Unauthorized("This needs the fleet's internal token.")
