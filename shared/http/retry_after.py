"""The header `Retry-After`: seconds, or a date. Owns its two forms."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_LONGEST = 24 * 3600.0


def parse_retry_after(value: bytes | str | None) -> float | None:
    """Return the seconds to wait, a day at most; None if the header says nothing of use."""
    if value is None:
        return None
    text = (value.decode("latin-1") if isinstance(value, bytes) else value).strip()
    if text.isascii() and text.replace(".", "", 1).isdigit():
        return min(_LONGEST, float(text))
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    # A date is of a wall clock, so it is compared with ours. Without a zone it is UTC.
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return min(_LONGEST, max(0.0, (date - datetime.now(UTC)).total_seconds()))
