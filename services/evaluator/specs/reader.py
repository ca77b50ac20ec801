"""Reading specs with all that they depend on: the fleet's models, question sets, earlier runs.

Every fault is found before anything is stored or asked for, in one pass.
"""

from __future__ import annotations

from asyncio import to_thread
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Any

from services.evaluator.specs.candidates import Earlier
from services.evaluator.specs.evaluation import read_eval
from services.evaluator.specs.execution import RunRequest, read_run
from services.evaluator.specs.findings import Findings
from services.evaluator.specs.fleet import AskJudge, ServedModels, check_judges, check_models
from services.evaluator.specs.openai_eval import is_openai, read_openai_eval
from services.evaluator.specs.openai_run import read_openai_run
from services.evaluator.specs.questions import QuestionSet
from services.evaluator.specs.requests import Resumption, read_resumption
from shared.errors import Gone, InvalidRequest, NotFound
from shared.protocol.evals.spec import EvalSpec

EarlierRun = Callable[[str], Awaitable[Earlier]]
"""Returns what the eval's run of this id brought; raises NotFound, Gone or InvalidRequest."""


@dataclass(frozen=True)
class SpecReader:
    """Reads bodies into specs."""

    served: ServedModels
    load_set: QuestionSet
    metrics: Collection[str]
    """Metrics of OpenAI's text similarity that are served."""
    ask_judge: AskJudge

    async def eval_spec(self, body: dict[str, Any]) -> EvalSpec:
        """Return the spec of an eval, ours or OpenAI's.

        Raises:
            InvalidSpec: all faults at once. Unavailable: the fleet cannot be asked.
        """
        findings = Findings()
        # In a thread: a large body keeps nobody else waiting.
        if is_openai(body):
            spec = await to_thread(read_openai_eval, body, findings, self.metrics)
        else:
            spec = await to_thread(read_eval, body, findings, self.load_set)
        await check_models(findings, self.served)
        findings.raise_if_any()
        return spec

    async def run_request(
        self, body: dict[str, Any], spec: EvalSpec, earlier_run: EarlierRun
    ) -> RunRequest:
        """Return a run of an eval; raises as `eval_spec`."""
        findings = Findings()
        if "data_source" in body:
            request = await to_thread(read_openai_run, body, spec, findings)
        else:
            earlier = await _earlier(body.get("answers_from_run"), findings, earlier_run)
            request = await to_thread(read_run, body, spec, findings, earlier)
        await check_models(findings, self.served)
        if request.wishes.check_judge and not findings:
            run = request.run
            judges = spec.judges if run.judges is None else run.judges
            await check_judges([] if run.reviews else judges, findings, self.ask_judge)
        findings.raise_if_any()
        return request

    async def resumption(self, body: dict[str, Any], spec: EvalSpec) -> Resumption:
        """Return how a run of an eval goes on; raises as `eval_spec`."""
        findings = Findings()
        asked = read_resumption(body, findings)
        if asked.judges is not None and not spec.dimensions:
            findings.add("/judge", "has nothing to judge: the eval has no dimensions")
        await check_models(findings, self.served)
        findings.raise_if_any()
        return asked


async def _earlier(run_id: object, findings: Findings, earlier_run: EarlierRun) -> Earlier | None:
    if not isinstance(run_id, str):
        return None
    try:
        return await earlier_run(run_id)
    except (NotFound, Gone, InvalidRequest) as fault:
        findings.add("/answers_from_run", fault.message)
        return Earlier()
