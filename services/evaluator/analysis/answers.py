"""Metrics of answers that need no judge, by candidate and language."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from services.evaluator.analysis.bootstrap import Bootstrap
from services.evaluator.analysis.figures import ratio
from services.evaluator.analysis.languages import Identify, identifier
from services.evaluator.analysis.manner import language_match, pace, refusal_rate
from services.evaluator.analysis.references import LONGEST, comparable, reference_figures
from services.evaluator.analysis.rows import AnswerRow
from services.evaluator.analysis.variety import distinct_figures, self_bleu
from services.evaluator.analysis.words import language_of, tokenization
from shared.protocol.evals.results import AnswerMetrics, Figure, ResultWarning


def answer_metrics(
    answers: Sequence[AnswerRow],
    candidates: Sequence[str],
    metrics: Sequence[str],
    bootstrap: Bootstrap,
) -> tuple[list[AnswerMetrics], list[ResultWarning]]:
    """Return the metrics asked for, and what must be known of how they were counted."""
    groups: dict[tuple[str, str | None], list[AnswerRow]] = {}
    for answer in answers:
        groups.setdefault((answer.candidate, answer.language), []).append(answer)
    order = {name: place for place, name in enumerate(candidates)}
    found: list[AnswerMetrics] = []
    warnings = list(_too_long(answers, metrics))
    identify = identifier() if "language_match" in metrics else None
    if "language_match" in metrics and identify is None:
        text = "language match is not computed: install py3langid"
        warnings.append(ResultWarning(code="language_match_missing", text=text))
    notes: dict[str, None] = {}
    for (candidate, language), own in sorted(
        groups.items(),
        key=lambda entry: (order.get(entry[0][0], len(order)), entry[0][0], entry[0][1] or ""),
    ):
        code = language_of(language, [answer.text for answer in own])
        tokenize, note = tokenization(code)
        if note and "bleu" in metrics:
            notes[note] = None
        values = dict(_figures(own, metrics, tokenize, bootstrap, identify))
        found.append(
            AnswerMetrics(candidate=candidate, language=language, answers=len(own), values=values)
        )
    warnings += [ResultWarning(code="tokenizer_missing", text=note) for note in notes]
    return found, warnings


def _too_long(answers: Sequence[AnswerRow], metrics: Sequence[str]) -> Iterator[ResultWarning]:
    for metric in metrics:
        total = sum(bool(answer.references) for answer in answers)
        left_out = total - len(comparable(metric, answers))
        if left_out:
            unit = "characters" if metric == "similarity" else "words"
            text = (
                f"{left_out} of {total} answers are not in {metric}: they or their references have more "
                f"than {LONGEST[metric]} {unit}"
            )
            yield ResultWarning(code="answers_too_long", text=text)


def _figures(
    answers: list[AnswerRow],
    metrics: Sequence[str],
    tokenize: str,
    bootstrap: Bootstrap,
    identify: Identify | None,
) -> Iterator[tuple[str, Figure]]:
    texts = [answer.text for answer in answers]
    lengths = np.array([len(text) for text in texts], dtype=np.float64)
    yield "length", ratio(lengths, np.ones(len(lengths)), bootstrap)
    yield from reference_figures(metrics, answers, tokenize, bootstrap)
    if "distinct_n" in metrics:
        yield from distinct_figures(texts)
    if "self_bleu" in metrics:
        yield "self_bleu", self_bleu(texts, bootstrap)
    if "refusal_rate" in metrics:
        yield "refusal_rate", refusal_rate(answers, bootstrap)
    if "language_match" in metrics:
        none = Figure(value=None)
        match = none if identify is None else language_match(answers, identify, bootstrap)
        yield "language_match", match
    if "latency" in metrics:
        yield from pace(answers, bootstrap).items()
