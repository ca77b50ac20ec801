"""Reading a judge's verdict in its text, strictly: one single reading, or none."""

from services.evaluator.judging.verdicts.order import parse_order, read_order

__all__ = ["parse_order", "read_order"]
