"""The evaluation API on a real socket before a real Redis; a test says what models are served.

Nothing executes runs: a test writes down itself how their units end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Self

import orjson
from starlette.applications import Starlette

from services.evaluator.jobs.connection import open_connection, open_following
from services.evaluator.jobs.idempotency import IdempotencyStore
from services.evaluator.jobs.ids import Ids
from services.evaluator.jobs.store import EvalStore
from services.evaluator.routes.api import api_routes
from services.evaluator.routes.figures import FigureMakers
from services.evaluator.routes.guard import EvaluatorGuard
from services.evaluator.routes.once import Once
from services.evaluator.routes.workbench import Workbench
from shared.http import faults
from shared.http.local_callers import LocalCallers
from shared.http.request_id import RequestIdMiddleware
from shared.http.server import Service
from shared.protocol.evals.results import Comparison, Results
from shared.settings import EvaluatorSettings
from tests.fakes.running_service import TOKEN, RunningService
from tests.fakes.spec_prices import Prices, assess
from tests.fakes.spec_readers import Fleet


class Figures:
    """Makes figures that say little, and counts; a test may hold it at its gate."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.gate = threading.Event()
        self.gate.set()

    def results(self, material: Any) -> Results:
        self.made.append("results")
        self.gate.wait()
        return Results(
            run_id=material.run.id,
            eval_id=material.evaluation.id,
            digest=material.digest,
            complete=material.run.status == "completed",
            mode=material.spec.mode,
            seed=0,
            resamples=0,
            scopes=[],
        )

    def compare(self, first: Any, second: Any) -> Comparison:
        self.made.append("compare")
        return Comparison(run_id=first.run.id, other_run_id=second.run.id, questions=0, rows=[])

    def report(self, form: str, table: str, material: Any, results: Any, items: Any) -> bytes:
        self.made.append("report")
        told = {"form": form, "table": table, "items": [item.id for item in items]}
        return orjson.dumps({**told, "run": material.run.id, "digest": results.digest})

    def artefact(self, material: Any, wanted: Any) -> bytes:
        self.made.append("artefact")
        return orjson.dumps({"run": material.run.id, "wanted": wanted})

    def makers(self) -> FigureMakers:
        return FigureMakers(self.results, self.compare, self.report, self.artefact)


class EvaluationApi(RunningService):
    """The service with all that a test looks at."""

    def __init__(
        self,
        redis_url: str,
        *,
        open_to_all: bool = True,
        token: str = TOKEN,
        changed: Callable[[], None] = lambda: None,
        **settings: Any,
    ) -> None:
        chosen = EvaluatorSettings(redis_url=redis_url, internal_token=token, **settings)
        self.redis = open_connection(chosen)
        self._following = open_following(chosen)
        self.store = EvalStore(self.redis, Ids(token), self._following)
        self.fleet, self.figures, self.prices = Fleet(), Figures(), Prices()
        self.bench = Workbench(most=4)
        routes = api_routes(
            self.store,
            Once(IdempotencyStore(self.redis), chosen.eval_body_bytes),
            self.fleet.reader(),
            foresight=self.prices,
            assess=assess,
            bench=self.bench,
            makers=self.figures.makers(),
            changed=changed,
        )
        app = Starlette(routes=routes)
        faults.install(app)

        def create(address: str) -> Service:
            local = LocalCallers(address) if open_to_all else None
            guarded = EvaluatorGuard(app, token, local)
            return Service(RequestIdMiddleware(guarded), lambda: None)

        super().__init__(create, 25_000)

    async def listening(self) -> Self:
        return self

    async def stop(self) -> None:
        await super().stop()
        await self.bench.close()
        await self.redis.aclose()
        await self._following.aclose()

    async def created(self, body: dict[str, Any]) -> str:
        """Return the path of an eval with this body."""
        response = await self.client.post("/v1/evals", json=body)
        assert response.is_success, response.text
        return response.headers["location"]
