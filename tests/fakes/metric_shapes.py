"""What a service measures, as a scrape shows it: each metric's type, labels and buckets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from prometheus_client.parser import text_string_to_metric_families


@dataclass(frozen=True, slots=True)
class Shape:
    kind: str
    labels: str = ""
    buckets: str = ""

    @classmethod
    def of(cls, kind: str, labels: str = "", buckets: str = "") -> Self:
        """Return one as a table tells it: words, in any order for the labels."""
        return cls(kind, " ".join(sorted(labels.split())), buckets)


def shapes(text: str) -> dict[str, Shape]:
    """Return the metrics of a scrape by their names; one without a sample has no labels to show."""
    found: dict[str, Shape] = {}
    for family in text_string_to_metric_families(text):
        labels = {name for sample in family.samples for name in sample.labels}
        bounds = dict.fromkeys(
            sample.labels["le"] for sample in family.samples if "le" in sample.labels
        )
        name = f"{family.name}_total" if family.type == "counter" else family.name
        buckets = " ".join(f"{float(bound):g}" for bound in bounds)
        found[name] = Shape.of(family.type, " ".join(labels - {"le"}), buckets)
    return found
