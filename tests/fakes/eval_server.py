"""An evaluation API that answers as a test tells it to, over real sockets, and can be restarted.

A run goes through `states`, one at each event: the next event is sent when the client has looked
at the run since the one before, so nothing depends on time. Without an open event stream a run
stays where it is. What was asked is kept for the test to look at.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any, Self

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from shared.http.server import bind
from shared.protocol.evals.results import (
    CandidateFigures,
    Comparison,
    ComparisonRow,
    Figure,
    Interval,
    Results,
    ResultWarning,
    Scope,
)
from shared.protocol.evals.run import CallCounts, CallUsage, Progress, Run, RunStatus, Usage

_STEP_SECONDS = 0.01


def state(status: RunStatus, answered: int = 0, done: int = 0, **more: Any) -> dict[str, Any]:
    """What changes of a run: its status, and how many of 4 answers and 10 reviews are done."""
    progress = Progress(
        total=10,
        queued=10 - done,
        answering=0,
        judging=0,
        done=done,
        judged=done,
        undecoded=more.pop("undecoded", 0),
        errored=more.pop("errored", 0),
        answers_total=4,
        answered=answered,
    )
    return {"status": status, "progress": progress, **more}


RUNNING = state(RunStatus.RUNNING, 1, 0)
COMPLETED = state(RunStatus.COMPLETED, 4, 10, undecoded=1)


@dataclass
class EvalServer:
    """A context: entering it listens, leaving it stops; `restart` does both on the same port."""

    states: list[dict[str, Any]] = field(default_factory=lambda: [RUNNING, COMPLETED])
    counts: CallCounts = field(
        default_factory=lambda: CallCounts(
            answers=4,
            judge=10,
            judge_at_most=20,
            prompt_tokens=500,
            completion_tokens=700,
            cost_usd=0.0,
            tokens_at_most=3000,
            cost_usd_at_most=0.0,
        )
    )
    faults: list[tuple[str, str]] = field(default_factory=list)
    """Of every spec that is sent, as the run's."""
    cut_after: int | None = None
    """Events of one connection, before it is closed."""
    warning: str = ""
    """Sent with the first event."""
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    """Method, path and body of every request but looks at runs."""
    last_event_ids: list[str | None] = field(default_factory=list)
    evals: dict[str, dict[str, Any]] = field(default_factory=dict)
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The latest body, by run."""
    openai_run: dict[str, Any] | None = None
    """Listed as an eval's run in OpenAI's shape."""

    def __post_init__(self) -> None:
        self._looks = 0
        self._looked = asyncio.Event()
        self._sent = 0
        self._port = 0
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        listener = bind("127.0.0.1", self._port or 24_200, next_free=not self._port)
        self._port = listener.port
        self._looked = asyncio.Event()  # of the new server's loop
        config = uvicorn.Config(self.app, log_config=None, timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listener.sock]}, daemon=True
        )
        self._thread.start()
        while not self._server.started:
            self._thread.join(_STEP_SECONDS)

    def stop(self) -> None:
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join(10)

    def bodies(self, ending: str) -> list[Any]:
        """The bodies of the POSTs to paths with this ending."""
        return [
            body for method, path, body in self.asked if method == "POST" and path.endswith(ending)
        ]

    @property
    def app(self) -> Starlette:
        run = "/v1/evals/{eval_id}/runs/{run_id}"
        return Starlette(
            routes=[
                Route("/v1/evals", self._create_eval, methods=["POST"]),
                Route("/v1/evals", self._list_evals),
                Route("/v1/evals/{eval_id}/runs", self._create_run, methods=["POST"]),
                Route("/v1/evals/{eval_id}/runs", self._list_runs),
                Route(run, self._get_run),
                Route(f"{run}/cancel", self._cancel, methods=["POST"]),
                Route(f"{run}/resume", self._resume, methods=["POST"]),
                Route(f"{run}/events", self._events),
                Route(f"{run}/results", self._results),
                Route(f"{run}/report", self._report),
                Route(f"{run}/compare", self._compare),
            ]
        )

    async def _create_eval(self, request: Request) -> Response:
        body = await self._noted(request)
        eval_id = _id("eval", body)
        new = eval_id not in self.evals
        self.evals[eval_id] = body
        return JSONResponse(self._evaluation(eval_id), 201 if new else 200)

    async def _list_evals(self, request: Request) -> Response:
        return _page([self._evaluation(eval_id) for eval_id in reversed(self.evals)], request)

    async def _create_run(self, request: Request) -> Response:
        body = await self._noted(request)
        if self.faults:
            errors = [{"pointer": pointer, "message": text} for pointer, text in self.faults]
            error = {"message": "; ".join(text for _, text in self.faults), "errors": errors}
            return JSONResponse({"error": {**error, "code": "invalid_spec"}}, 422)
        if body.pop("dry_run", False):
            return JSONResponse(self.counts.model_dump())
        run_id = _id("evalrun", [request.path_params["eval_id"], body])
        new = run_id not in self.runs
        self.runs[run_id] = body
        return self._run(request.path_params["eval_id"], run_id, 202 if new else 200)

    async def _list_runs(self, request: Request) -> Response:
        eval_id = request.path_params["eval_id"]
        told = [
            orjson.loads(self._told(eval_id, run_id).model_dump_json())
            for run_id, body in self.runs.items()
            if run_id == _id("evalrun", [eval_id, body])
        ]
        return _page([*([self.openai_run] if self.openai_run else []), *told], request)

    async def _get_run(self, request: Request) -> Response:
        if request.path_params["run_id"] not in self.runs:
            return JSONResponse({"error": {"message": "There is no such run."}}, 404)
        self._looks += 1
        self._looked.set()
        return self._run(**request.path_params)

    async def _cancel(self, request: Request) -> Response:
        await self._noted(request)
        self.states = [state(RunStatus.CANCELED, 1, reason="user")]
        return self._run(**request.path_params)

    async def _resume(self, request: Request) -> Response:
        body = await self._noted(request)
        if body.pop("dry_run", False):
            return JSONResponse(self.counts.model_dump())
        return self._run(**request.path_params, status=202)

    async def _events(self, request: Request) -> Response:
        told = request.headers.get("last-event-id")
        self.last_event_ids.append(told)
        return StreamingResponse(self._stream(int(told or 0)), media_type="text/event-stream")

    async def _stream(self, after: int) -> AsyncGenerator[bytes]:
        yield b": here\n\n"
        for place, number in enumerate(range(after + 1, len(self.states))):
            if place == self.cut_after:
                return
            while self._looks < number:
                self._looked.clear()
                await self._looked.wait()
            self._sent = max(self._sent, number)
            if self.warning and number == 1:
                yield _event("0-1", "warning", {"text": self.warning})
            over = self.states[number]["status"].over
            yield _event(str(number), "done" if over else "progress", {})
        if not self.states[-1]["status"].over:
            await asyncio.Event().wait()

    async def _results(self, request: Request) -> Response:
        told = results(**request.path_params)
        return Response(told.model_dump_json(), media_type="application/json")

    async def _report(self, request: Request) -> Response:
        return Response(f"the {request.query_params['format']} of {request.path_params['run_id']}")

    async def _compare(self, request: Request) -> Response:
        row = ComparisonRow(
            candidate="small",
            dimension=None,
            before=Figure(value=5.0, n=4),
            after=Figure(value=6.0, n=4),
            difference=Figure(value=1.0, interval=Interval(low=0.5, high=1.5), n=4),
            p=0.01,
            p_holm=0.02,
            separable=True,
        )
        told = Comparison(
            run_id=request.path_params["run_id"],
            other_run_id=request.query_params["run"],
            questions=4,
            rows=[row],
        )
        return Response(told.model_dump_json(), media_type="application/json")

    async def _noted(self, request: Request) -> Any:
        body = await request.json()
        self.asked.append((request.method, request.url.path, orjson.loads(orjson.dumps(body))))
        return body

    def _evaluation(self, eval_id: str) -> dict[str, Any]:
        spec = self.evals[eval_id]
        return {
            "object": "eval",
            "id": eval_id,
            "created_at": 1_700_000_000,
            "question_count": 2,
            "spec": {"name": spec.get("name", "")},
        }

    def _run(self, eval_id: str, run_id: str, status: int = 200) -> Response:
        told = self._told(eval_id, run_id).model_dump_json()
        return Response(told, status, media_type="application/json")

    def _told(self, eval_id: str, run_id: str) -> Run:
        now = self.states[min(self._sent, len(self.states) - 1)]
        return Run(
            id=run_id,
            eval_id=eval_id,
            created_at=1_700_000_000,
            candidates=["small", "large"],
            usage=Usage(judge=CallUsage(calls=10, prompt_tokens=1000, cost_usd=0.25)),
            **now,
        )


def results(eval_id: str, run_id: str) -> Results:
    """Two candidates that cannot be told apart."""

    def figures(name: str, score: float) -> CandidateFigures:
        return CandidateFigures(
            candidate=name,
            mean_rank=Figure(value=1.5, n=9),
            rank_score=Figure(value=7.5, n=9),
            mean_score=Figure(value=score, interval=Interval(low=score - 1, high=score + 1), n=9),
            win_rate=Figure(value=0.5, n=9),
            wins=3,
            ties=3,
            losses=3,
            rating=None,
            mean_length=100,
        )

    candidates = [figures("large", 7.25), figures("small", 6.75)]
    scopes = [
        Scope(
            dimension=dimension,
            category=None,
            language=None,
            judge=None,
            questions=2,
            reviews=10,
            undecoded=1,
            candidates=candidates,
            pairs=[],
            groups=[["large", "small"]],
        )
        for dimension in (None, "general", "relevance")
    ]
    return Results(
        run_id=run_id,
        eval_id=eval_id,
        digest="0" * 64,
        complete=True,
        mode="scoring",
        seed=0,
        resamples=2000,
        scopes=scopes,
        warnings=[ResultWarning(code="few_questions", text="Fewer than 30 questions.")],
    )


def _event(number: str, name: str, data: dict[str, Any]) -> bytes:
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (number.encode(), name.encode(), orjson.dumps(data))


def _id(kind: str, content: Any) -> str:
    digest = hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()
    return f"{kind}_{digest[:32]}"


def _page(told: list[Any], request: Request) -> Response:
    """One entry a page, so that clients have to turn pages."""
    ids = [entry["id"] for entry in told]
    after = request.query_params.get("after")
    start = ids.index(after) + 1 if after else 0
    page = told[start : start + 1]
    last = page[-1]["id"] if page else None
    more = start + 1 < len(told)
    return JSONResponse({"object": "list", "data": page, "last_id": last, "has_more": more})
