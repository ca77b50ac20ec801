"""Answers against references: BLEU, chrF, TER by sacrebleu, ROUGE by rouge-score, and plain ones.

A question without references is in none of them, a text that is too long not in TER, ROUGE and
similarity. Of several references the best counts, as each metric defines it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import numpy as np

from services.evaluator.analysis.arrays import Floats
from services.evaluator.analysis.bootstrap import Bootstrap
from services.evaluator.analysis.figures import SHARE, drawn_figure, ratio
from services.evaluator.analysis.rows import AnswerRow
from services.evaluator.analysis.words import UnitTokenizer, units
from services.evaluator.sequences import common_length, harmonic_share
from shared.protocol.evals.results import Figure

LONGEST = {"ter": 200, "rouge": 2000, "similarity": 20_000}
"""Words that a text may have, characters for similarity: all take the square of that or more, TER
up to seconds a pair."""
_ROUGE = ("rouge1", "rouge2", "rougeL")


def reference_figures(
    metrics: Sequence[str], answers: Sequence[AnswerRow], tokenize: str, bootstrap: Bootstrap
) -> Iterator[tuple[str, Figure]]:
    """Return name and figure of each metric asked for, over the answers that can be compared."""
    for metric in metrics:
        compared = comparable(metric, answers)
        if metric in {"bleu", "chrf", "ter"}:
            figure = Figure(value=None)
            if compared:
                figure = _corpus(_sacrebleu(metric, tokenize), compared, bootstrap)
            yield metric, figure
        elif metric == "rouge":
            yield from _rouge(compared, bootstrap)
        elif metric == "exact_match":
            hits = np.array([_matches(answer) for answer in compared], dtype=np.float64)
            yield metric, _mean(hits, bootstrap)
        elif metric == "similarity":
            alike = np.array([_alike(answer) for answer in compared], dtype=np.float64)
            yield metric, _mean(alike, bootstrap)


def comparable(metric: str, answers: Sequence[AnswerRow]) -> list[AnswerRow]:
    """Return the answers that have references and are not too long for a metric."""
    longest = LONGEST.get(metric)
    with_references = [answer for answer in answers if answer.references]
    if longest is None:
        return with_references
    return [
        answer
        for answer in with_references
        if all(_size(metric, text) <= longest for text in (answer.text, *answer.references))
    ]


def _size(metric: str, text: str) -> int:
    return len(text) if metric == "similarity" else len(units(text))


def _sacrebleu(metric: str, tokenize: str) -> Any:
    from sacrebleu.metrics.bleu import BLEU  # noqa: PLC0415 - loads all its metrics
    from sacrebleu.metrics.chrf import CHRF  # noqa: PLC0415
    from sacrebleu.metrics.ter import TER  # noqa: PLC0415

    if metric == "bleu":
        return BLEU(tokenize=tokenize, force=True)
    # TER's own way for Chinese and Japanese is characters as words.
    return CHRF() if metric == "chrf" else TER(normalized=True, asian_support=True)


def _corpus(metric: Any, answers: Sequence[AnswerRow], bootstrap: Bootstrap) -> Figure:
    """Return a corpus score; each draw's is computed from the sums of its answers' counts."""
    most = max(len(answer.references) for answer in answers)
    references = [
        [answer.references[place] if place < len(answer.references) else None for answer in answers]
        for place in range(most)
    ]
    # Counts of single answers have no public name in sacrebleu; its own bootstrap reads them so.
    counted = metric._extract_corpus_statistics([each.text for each in answers], references)  # noqa: SLF001
    counts: Floats = np.array(counted, dtype=np.float64)
    score = cast("Callable[[list[float]], Any]", metric._compute_score_from_stats)  # noqa: SLF001
    value = float(score(counts.sum(axis=0).tolist()).score)
    draws = np.array([float(score(row.tolist()).score) for row in bootstrap.sums(counts)])
    return drawn_figure(value, draws, len(answers), len(answers))


def _rouge(answers: Sequence[AnswerRow], bootstrap: Bootstrap) -> Iterator[tuple[str, Figure]]:
    """Return the mean F-measure of one word, two words and the longest common sequence."""
    from rouge_score.rouge_scorer import RougeScorer  # noqa: PLC0415 # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

    scorer = cast("Any", RougeScorer)(list(_ROUGE), tokenizer=UnitTokenizer())
    best = [
        [max(float(found[name].fmeasure) for found in compared) for name in _ROUGE]
        for compared in (
            [scorer.score(reference, answer.text) for reference in answer.references]
            for answer in answers
        )
    ]
    values = np.array(best, dtype=np.float64).reshape(len(answers), len(_ROUGE))
    for column, name in enumerate(_ROUGE):
        yield name, _mean(values[:, column], bootstrap)


def _mean(values: Floats, bootstrap: Bootstrap) -> Figure:
    return ratio(values, np.ones(len(values)), bootstrap, bounds=SHARE)


def _matches(answer: AnswerRow) -> bool:
    text = _plain(answer.text)
    return any(text == _plain(reference) for reference in answer.references)


def _alike(answer: AnswerRow) -> float:
    """Return the share of characters that an answer and a reference have in the same order."""
    text = _plain(answer.text)
    references = map(_plain, answer.references)
    return max(
        harmonic_share(common_length(text, other), len(text), len(other)) if text != other else 1.0
        for other in references
    )


def _plain(text: str) -> str:
    """Return a text without what nobody sees: spaces around it, other codes of the same letter."""
    return unicodedata.normalize("NFC", text).strip()
