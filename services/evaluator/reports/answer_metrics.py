"""Metrics of answers without a judge: how each is named and written, and of how many answers."""

from __future__ import annotations

from dataclasses import dataclass

from services.evaluator.reports import wording
from services.evaluator.reports.measures import Notation
from shared.protocol.evals.results import AnswerMetrics, Figure, Results

_NOTATIONS = {
    "length": Notation(title="Length (characters)", digits=0),
    "bleu": Notation(title="BLEU"),
    "chrf": Notation(title="chrF"),
    "ter": Notation(title="TER"),
    "rouge1": Notation(title="ROUGE-1"),
    "rouge2": Notation(title="ROUGE-2"),
    "rougeL": Notation(title="ROUGE-L"),
    "exact_match": Notation(title="Exact match", digits=1, percent=True),
    "similarity": Notation(title="Similarity"),
    "distinct_1": Notation(title="Distinct-1"),
    "distinct_2": Notation(title="Distinct-2"),
    "self_bleu": Notation(title="Self-BLEU"),
    "refusal_rate": Notation(title="Refusal rate (by phrases)", digits=1, percent=True),
    "language_match": Notation(title="Language match", digits=1, percent=True),
    "seconds": Notation(title="Seconds an answer"),
    "tokens_per_second": Notation(title="Tokens a second", digits=1),
}


@dataclass(frozen=True, slots=True)
class AnswerTable:
    """What is told of the answers, a row for each candidate and language."""

    rows: list[AnswerMetrics]
    columns: list[tuple[str, Notation]]
    """Each metric's name in the results, and how it is written."""

    @staticmethod
    def left_out(row: AnswerMetrics, figure: Figure | None) -> str:
        """Return of how many answers a figure is, where that is not of all of the row."""
        if figure is None or figure.value is None or figure.n == row.answers:
            return ""
        return f"of {wording.count(figure.n)}"

    def written(self, row: AnswerMetrics, name: str, notation: Notation) -> str:
        """Return a figure with its interval, and of how many answers it is."""
        figure = row.values.get(name)
        return f"{notation.written(figure)} {self.left_out(row, figure)}".rstrip()


def answer_table(results: Results) -> AnswerTable:
    """Return the metrics of a run's answers; one without a name here has that of the results."""
    names = dict.fromkeys(name for each in results.answers for name in each.values)
    columns = [(name, _NOTATIONS.get(name) or Notation(title=name)) for name in names]
    return AnswerTable(results.answers, columns)
