"""Puts the parts of an analysis together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from services.evaluator.analysis.answers import answer_metrics
from services.evaluator.analysis.arrays import Bools, Floats
from services.evaluator.analysis.bootstrap import Bootstrap
from services.evaluator.analysis.cautions import cautions
from services.evaluator.analysis.composite import composite_of
from services.evaluator.analysis.keys import parts_of
from services.evaluator.analysis.length import longer_share
from services.evaluator.analysis.options import AnalysisOptions
from services.evaluator.analysis.position import position_of
from services.evaluator.analysis.rows import AnswerRow, Review
from services.evaluator.analysis.scopes import Counted, Counting
from services.evaluator.analysis.sources import agreements
from services.evaluator.analysis.style import markdown_marks, measured
from services.evaluator.analysis.table import Table
from shared.protocol.evals.results import LengthBias, PositionBias, Results, ResultWarning
from shared.protocol.evals.spec import Mode

_MOST_SCOPES = 160
_MOST_PAIRS = 8_000
"""Of candidates in all scopes: 26 candidates have 325 in each."""


def counted_results(
    reviews: Sequence[Review], answers: Sequence[AnswerRow], options: AnalysisOptions
) -> Results:
    """Return all figures of a run."""
    table = Table(reviews, options.candidates)
    lengths = measured(answers, table, len)
    marks = measured(answers, table, markdown_marks)
    bootstrap = Bootstrap(options.seed, options.resamples)
    scoring = options.mode == Mode.SCORING
    counting = Counting(
        table,
        lengths,
        marks,
        bootstrap,
        options.scales,
        scoring=scoring,
        controlled=options.length_control,
    )
    parts, left_out = parts_of(table.reviews, _most(len(table.candidates)))
    counted = [counting.count(key, chosen) for key, chosen in parts]
    composite, weights = composite_of(
        [each.scope for each in counted if each.key.plain],
        options.weights,
        options.scales,
        scoring=scoring,
    )
    # What a person said in a judge's place says nothing of the judge.
    judged = table
    if any(review.human for review in reviews):
        judged = Table([review.as_judged() for review in reviews], options.candidates)
    position = _position(judged, bootstrap)
    metrics, notes = answer_metrics(answers, table.candidates, options.metrics, bootstrap)
    warnings = [*cautions(reviews, answers, options, counted, position), *notes]
    if left_out:
        text = f"{left_out} smaller parts of the reviews are not counted by themselves"
        warnings.append(ResultWarning(code="scopes_left_out", text=text))
    return Results(
        run_id=options.run_id,
        eval_id=options.eval_id,
        digest=options.digest,
        complete=options.complete,
        mode=options.mode,
        seed=options.seed,
        resamples=options.resamples,
        scopes=[each.scope for each in counted],
        composite=composite,
        weights=weights,
        scales={name: options.scales[name] for name in weights if name in options.scales},
        position=position,
        length=_length(table, counted, [chosen for _, chosen in parts], lengths, bootstrap),
        agreement=agreements(judged, reviews, bootstrap, options.scales),
        answers=metrics,
        warnings=warnings,
        usage=options.usage,
    )


def _most(candidates: int) -> int:
    pairs = max(1, candidates * (candidates - 1) // 2)
    return max(1, min(_MOST_SCOPES, _MOST_PAIRS // pairs))


def _position(table: Table, bootstrap: Bootstrap) -> list[PositionBias]:
    """Return the bias of each judge, from line-ups that it saw as they stand."""
    found: list[PositionBias] = []
    several: Bools = table.seen & (np.array([len(each.lineup) for each in table.reviews]) > 1)
    for judge in dict.fromkeys(review.judge for review in table.reviews):
        own: Bools = several & np.array([review.judge == judge for review in table.reviews])
        lost = sum(not table.reviews[row].decoded for row in np.flatnonzero(own))
        bias = position_of(table, judge, own, bootstrap, lost)
        if bias is not None:
            found.append(bias)
    return found


def _length(
    table: Table,
    counted: Sequence[Counted],
    chosen: Sequence[Bools],
    lengths: Floats,
    bootstrap: Bootstrap,
) -> list[LengthBias]:
    """Return the bias for length overall and in each dimension, where answers are known."""
    return [
        LengthBias(
            dimension=each.key.dimension,
            longer_share=longer_share(table, own, lengths, bootstrap, each.scope.undecoded),
            coefficient=each.length.coefficient,
            markdown=each.markdown,
        )
        for each, own in zip(counted, chosen, strict=True)
        if each.key.plain and each.length is not None
    ]
