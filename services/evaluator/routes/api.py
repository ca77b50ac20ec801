"""The evaluation API over HTTP: which handler answers which path. Executes nothing.

While the service ends, what still comes is taken: it is kept, and whoever is there executes it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.evaluator.jobs.asking import Assess
from services.evaluator.jobs.store import EvalStore
from services.evaluator.routes.evals import EvalHandlers
from services.evaluator.routes.events import EventHandlers
from services.evaluator.routes.figures import FigureHandlers, FigureMakers
from services.evaluator.routes.items import ItemHandlers
from services.evaluator.routes.once import Once
from services.evaluator.routes.runs import RunHandlers
from services.evaluator.routes.shapes import Shapes
from services.evaluator.routes.workbench import Workbench
from services.evaluator.specs.dry_run import Foresight
from services.evaluator.specs.reader import SpecReader

Handler = Callable[[Request], Awaitable[Response]]

_EVALS = "/v1/evals"
_EVAL = "/v1/evals/{eval_id}"
_RUN = "/v1/evals/{eval_id}/runs/{run_id}"


def api_routes(
    store: EvalStore,
    once: Once,
    reader: SpecReader,
    *,
    foresight: Foresight,
    assess: Assess,
    bench: Workbench,
    makers: FigureMakers,
    changed: Callable[[], None],
) -> list[Route]:
    """Return all routes; those that change something are done once for an Idempotency-Key.

    Args:
        store: evals and runs.
        once: remembers what was done.
        reader: of bodies.
        foresight: what calls use, for dry runs.
        assess: what a review asks, for dry runs.
        bench: where figures are made.
        makers: what makes them.
        changed: called when there may be something to do, or less of it.
    """
    shapes = Shapes(store)
    evals = EvalHandlers(store, reader, shapes)
    runs = RunHandlers(store, reader, shapes, foresight=foresight, assess=assess, changed=changed)
    items, events = ItemHandlers(store), EventHandlers(store)
    figures = FigureHandlers(store, bench, makers)
    changing = [
        ("POST", _EVALS, evals.create),
        ("POST", _EVAL, evals.update),
        ("POST", f"{_EVAL}/runs", runs.create),
        ("POST", _RUN, runs.cancel),
        ("POST", f"{_RUN}/cancel", runs.cancel),
        ("POST", f"{_RUN}/resume", runs.resume),
        ("PATCH", f"{_RUN}/output_items/{{item_id}}", items.override),
    ]
    reading: list[tuple[str, str, Handler]] = [
        ("GET", _EVALS, evals.list),
        ("GET", _EVAL, evals.get),
        ("DELETE", _EVAL, evals.delete),
        ("GET", f"{_EVAL}/runs", runs.list),
        ("GET", _RUN, runs.get),
        ("DELETE", _RUN, runs.delete),
        ("GET", f"{_RUN}/events", events.follow),
        ("GET", f"{_RUN}/output_items", items.list),
        ("GET", f"{_RUN}/output_items/{{item_id}}", items.get),
        ("GET", f"{_RUN}/results", figures.results),
        ("GET", f"{_RUN}/report", figures.report),
        ("GET", f"{_RUN}/compare", figures.compare),
        ("GET", f"{_RUN}/artifacts/{{name}}", figures.artefact),
    ]
    table = [*((method, path, once.handler(act)) for method, path, act in changing), *reading]
    return [Route(path, handler, methods=[method]) for method, path, handler in table]
