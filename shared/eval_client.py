"""The evaluation API as its clients see it: evals, runs, results and reports by `ZooClient`.

Owns paths and the types of answers. Evals that OpenAI's clients made are told in OpenAI's shape;
their runs are read as ours. Knows neither spec files nor terminals.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, TypeVar, cast
from urllib.parse import quote, urlencode

from pydantic import ValidationError

from shared.client import ZooClient
from shared.errors import MalformedAnswer, NotFound
from shared.protocol.evals.base import Told
from shared.protocol.evals.results import Comparison, Results
from shared.protocol.evals.run import CallCounts, CallUsage, Progress, Run, RunStatus, Usage

_PATH = "/v1/evals"
_PAGE = 100
_STATUS_OF_OPENAI = {"in_progress": RunStatus.RUNNING}

T = TypeVar("T", bound=Told)


def run_path(eval_id: str, run_id: str) -> str:
    """Return the path of a run."""
    return f"{_PATH}/{quote(eval_id, safe='')}/runs/{quote(run_id, safe='')}"


class EvalClient:
    """Asks for evaluations; every method raises as `ZooClient.chat`."""

    def __init__(self, zoo: ZooClient) -> None:
        """Ask through `zoo`."""
        self.zoo = zoo

    async def create_eval(self, body: dict[str, Any]) -> str:
        """Return the id of the eval with this content; it is made if there is none."""
        return _id(await self.zoo.post(_PATH, body))

    async def create_run(self, eval_id: str, body: dict[str, Any]) -> Run:
        """Return the run with this content; it is made and queued if there is none."""
        return read_run(await self.zoo.post(_runs_path(eval_id), body))

    async def count_calls(self, eval_id: str, body: dict[str, Any]) -> CallCounts:
        """Return what a run with this content would ask for; nothing is made."""
        told = await self.zoo.post(_runs_path(eval_id), {**body, "dry_run": True})
        return _read(CallCounts, told)

    async def evals(self) -> AsyncGenerator[dict[str, Any]]:
        """Yield all evals, the newest first, in the shape in which each is told."""
        async for told in self._listed(_PATH):
            yield told

    async def runs(self, eval_id: str) -> AsyncGenerator[Run]:
        """Yield all runs of an eval, the newest first."""
        async for told in self._listed(_runs_path(eval_id)):
            yield read_run(told)

    async def run(self, eval_id: str, run_id: str) -> Run:
        """Return how a run is doing."""
        return read_run(await self.zoo.get(run_path(eval_id, run_id)))

    async def find_run(self, run_id: str) -> Run:
        """Return the run with this id, whatever eval it belongs to.

        Raises:
            NotFound: no eval has it. Whatever `ZooClient.chat` raises.
        """
        async for told in self.evals():
            async for run in self.runs(_id(told)):
                if run.id == run_id:
                    return run
        raise NotFound(f"No eval has a run {run_id}.")

    async def cancel(self, run: Run) -> Run:
        """Stop a run; calls in flight are finished and kept."""
        return read_run(await self.zoo.post(f"{run_path(run.eval_id, run.id)}/cancel", {}))

    async def resume(self, run: Run, body: dict[str, Any]) -> Run:
        """Go on with a run; with another judge it is a new one on the same answers."""
        return read_run(await self.zoo.post(f"{run_path(run.eval_id, run.id)}/resume", body))

    async def count_resumed(self, run: Run, body: dict[str, Any]) -> CallCounts:
        """Return what a run on the same answers with another judge would ask for."""
        path = f"{run_path(run.eval_id, run.id)}/resume"
        return _read(CallCounts, await self.zoo.post(path, {**body, "dry_run": True}))

    async def results(self, run: Run) -> Results:
        """Return a run's figures."""
        return _read(Results, await self.zoo.get(f"{run_path(run.eval_id, run.id)}/results"))

    async def compare(self, run: Run, other_id: str) -> Comparison:
        """Return two runs beside each other."""
        query = urlencode({"run": other_id})
        told = await self.zoo.get(f"{run_path(run.eval_id, run.id)}/compare?{query}")
        return _read(Comparison, told)

    async def report(self, run: Run, form: str) -> bytes:
        """Return a run's report as html, md, json, csv or jsonl."""
        path = f"{run_path(run.eval_id, run.id)}/report?{urlencode({'format': form})}"
        async with self.zoo.reading(path) as pieces:
            return b"".join([piece async for piece in pieces])

    async def _listed(self, path: str) -> AsyncGenerator[dict[str, Any]]:
        after: str | None = None
        while True:
            query = {"limit": str(_PAGE), "order": "desc", **({"after": after} if after else {})}
            page = await self.zoo.get(f"{path}?{urlencode(query)}")
            found: object = page.get("data")
            if not isinstance(found, list):
                raise MalformedAnswer(f"{path} answered with something that is no list.")
            for told in cast("list[dict[str, Any]]", found):
                yield told
            if not page.get("has_more") or not found:
                return
            after = _id(cast("dict[str, Any]", found[-1]))


def read_run(told: dict[str, Any]) -> Run:
    """Return a run as ours, whichever shape it is told in. Raises MalformedAnswer."""
    return _read(Run, told if "progress" in told else _of_openai(told))


def _of_openai(told: dict[str, Any]) -> dict[str, Any]:
    counts = cast("dict[str, int]", told.get("result_counts") or {})
    total, errored = counts.get("total", 0), counts.get("errored", 0)
    passed, failed = counts.get("passed", 0), counts.get("failed", 0)
    done = passed + failed + errored
    progress = Progress(
        total=total,
        queued=total - done,
        answering=0,
        judging=0,
        done=done,
        judged=passed + failed,
        undecoded=0,
        errored=errored,
        passed=passed,
        failed=failed,
        answers_total=0,
        answered=0,
    )
    used = cast("list[dict[str, int]]", told.get("per_model_usage") or [])
    usage = CallUsage(
        calls=sum(model.get("invocation_count", 0) for model in used),
        prompt_tokens=sum(model.get("prompt_tokens", 0) for model in used),
        completion_tokens=sum(model.get("completion_tokens", 0) for model in used),
    )
    status = told.get("status")
    error = cast("dict[str, Any]", told.get("error") or {})
    return {
        **{name: told.get(name) for name in ("id", "eval_id", "created_at")},
        "name": told.get("name") or "",
        "status": _STATUS_OF_OPENAI.get(str(status), status),
        "candidates": [told["model"]] if told.get("model") else [],
        "progress": progress,
        "usage": Usage(answers=usage),
        "error": error.get("message") or None,
    }


def _runs_path(eval_id: str) -> str:
    return f"{_PATH}/{quote(eval_id, safe='')}/runs"


def _id(told: dict[str, Any]) -> str:
    name = told.get("id")
    if not isinstance(name, str):
        raise MalformedAnswer("The answer is no evaluation.")
    return name


def _read(shape: type[T], told: dict[str, Any]) -> T:
    try:
        return shape.model_validate(told)
    except ValidationError as fault:
        where = ".".join(str(part) for part in fault.errors()[0]["loc"])
        msg = f"The answer is no {shape.__name__} of the evaluation API (at {where})."
        raise MalformedAnswer(msg) from None
