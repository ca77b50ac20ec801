"""What is made of a run's material: figures, comparisons, reports, LLMZoo's files.

The one place where the store's material, statistics, reports and artefacts meet. Everything here
takes a processor for a while; heavy libraries are loaded by what is called.
"""

from __future__ import annotations

from services.evaluator.analysis.comparison import RunRows, compare_runs
from services.evaluator.analysis.options import AnalysisOptions
from services.evaluator.analysis.results import results_of
from services.evaluator.jobs.material import RunMaterial
from services.evaluator.judging.scales import scales_of
from services.evaluator.llmzoo_files import artefact
from services.evaluator.reports.data import ReportData, ReportFormat, ReportTable
from services.evaluator.reports.rendering import render
from services.evaluator.routes.figures import FigureMakers
from shared.protocol.evals.item import OutputItem
from shared.protocol.evals.results import Comparison, Results
from shared.protocol.evals.run import RunStatus


def figure_makers() -> FigureMakers:
    """Return what the API's routes make figures with."""
    return FigureMakers(_results, _compare, _report, artefact)


def _results(material: RunMaterial) -> Results:
    spec, run = material.spec, material.run
    options = AnalysisOptions(
        run_id=run.id,
        eval_id=material.evaluation.id,
        digest=material.digest,
        mode=spec.mode.value,
        complete=run.status is RunStatus.COMPLETED,
        candidates=tuple(candidate.name for candidate in material.plan.candidates),
        errored=run.progress.errored,
        weights=spec.weights,
        scales=scales_of(spec, given=material.plan.given),
        metrics=tuple(spec.metrics),
        length_control=spec.length_control,
        baseline=spec.baseline,
        usage=run.usage,
        models={each.name: each.model for each in material.plan.candidates if each.model},
    )
    return results_of(material.reviews(), material.answer_rows(), options)


def _compare(first: RunMaterial, second: RunMaterial) -> Comparison:
    return compare_runs(_rows(first), _rows(second))


def _rows(material: RunMaterial) -> RunRows:
    scales = scales_of(material.spec, given=material.plan.given)
    return RunRows(material.run.id, material.reviews(), scales)


def _report(
    form: ReportFormat,
    table: ReportTable,
    material: RunMaterial,
    results: Results,
    items: list[OutputItem],
) -> bytes:
    strict = {judge.model for judge in material.plan.judges if judge.prose == "undecoded"}
    report = ReportData(results, material.spec, material.run, items, frozenset(strict))
    return render(form, report, table)
