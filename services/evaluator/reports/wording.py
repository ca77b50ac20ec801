"""Numbers, spans, dates and names as a reader sees them; what is not there is a dash."""

from __future__ import annotations

from datetime import UTC, datetime
from math import isfinite

from shared.protocol.evals.results import Agreement, Figure

NOTHING = "\N{EN DASH}"
_MINUS = "\N{MINUS SIGN}"
_MINUTE = 60
_HOUR = 3600


def number(value: float | None, digits: int = 2) -> str:
    """Return a number with so many places; thousands are set apart."""
    if value is None or not isfinite(value):
        return NOTHING
    text = f"{value:,.{digits}f}"
    # What rounds to nothing has no sign.
    return text.lstrip("-") if float(text.replace(",", "")) == 0 else text.replace("-", _MINUS)


def count(value: float) -> str:
    """Return how many, with a place after the point only where half ones are counted."""
    return number(value, 0 if value == int(value) else 1)


def share(value: float | None, digits: int = 1) -> str:
    """Return a part of 1 in per cent."""
    if value is None or not isfinite(value):
        return NOTHING
    return f"{number(100 * value, digits)} %"


def interval(figure: Figure | None, digits: int = 2, *, percent: bool = False) -> str:
    """Return a figure's interval in brackets, or nothing at all if it has none."""
    if figure is None or figure.interval is None:
        return ""
    scale = 100 if percent else 1
    low, high = (number(scale * end, digits) for end in _ends(figure))
    return f"[{low}, {high}]"


def _ends(figure: Figure) -> tuple[float, float]:
    assert figure.interval is not None
    return figure.interval.low, figure.interval.high


def p_value(value: float) -> str:
    """Return a p value as papers print it."""
    smallest = 0.001
    return "< 0.001" if value < smallest else number(value, 3)


def money(usd: float) -> str:
    """Return dollars; small sums keep four places."""
    return f"${number(usd, 2 if usd >= 1 or usd == 0 else 4)}"


def sources(agreement: Agreement) -> str:
    """Return who agrees, and whose verdicts it is about."""
    names = ", ".join(agreement.names)
    judge = agreement.judge
    return f"{judge}: {names}" if judge and judge not in agreement.names else names


def moment(seconds: int | None) -> str:
    """Return a moment in UTC."""
    if seconds is None:
        return NOTHING
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def span(seconds: int) -> str:
    """Return how long something took."""
    if seconds < _MINUTE:
        return f"{seconds} s"
    if seconds < _HOUR:
        return f"{seconds // _MINUTE} min {seconds % _MINUTE} s"
    return f"{seconds // _HOUR} h {seconds % _HOUR // _MINUTE} min"
