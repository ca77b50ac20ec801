"""Recordings as a table for people and as JSON for programs.

Owns what is printed; rejects and faults always are. Knows no server and no engine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from services.cli.bench.figures import Figures, Percentiles, fault_counts, figures
from services.cli.bench.recording import Recording
from services.cli.table import columns

_HEAD = (
    *("LOAD", "TOKENS/S", "REQUESTS/S", "TTFT p50/p95/p99 ms", "ITL p50/p95/p99 ms", "E2E p50 s"),
    *("DONE", "REJECTED", "FAILED", "CUT"),
)
_BUSY = 0.5  # of a core: from here on the client may be what limits the figures
_MILLISECONDS = 1000.0


def as_json(recordings: Sequence[Recording]) -> list[dict[str, Any]]:
    """Return one object a recording."""
    return [
        {
            "load": recording.name,
            **asdict(figures(recording.samples, recording.seconds)),
            "warm_up_faults": fault_counts(recording.warm_up),
            "process_cpu": recording.cpu_share,
            "steps_per_second": recording.steps_per_second,
        }
        for recording in recordings
    ]


def as_lines(recordings: Sequence[Recording]) -> Iterator[str]:
    """Yield the table, then what went wrong and what one must know to read it."""
    measured = [(r, figures(r.samples, r.seconds)) for r in recordings]
    yield from columns(_HEAD, [_cells(recording, told) for recording, told in measured])
    for recording, told in measured:
        yield from _faults(recording.name, told.faults)
        yield from _faults(f"{recording.name}, warm-up", fault_counts(recording.warm_up))
        yield f"{recording.name}: {'; '.join(_about(recording, told))}"


def _cells(recording: Recording, told: Figures) -> tuple[str, ...]:
    return (
        recording.name,
        f"{told.output_tokens_per_second:.1f}",
        f"{told.requests_per_second:.2f}",
        _times(told.ttft_ms),
        _times(told.itl_ms),
        "-" if told.e2e_ms.p50 is None else f"{told.e2e_ms.p50 / _MILLISECONDS:.2f}",
        str(told.completed),
        str(told.rejected),
        str(told.failed),
        str(told.interrupted),
    )


def _times(times: Percentiles) -> str:
    return " / ".join("-" if t is None else f"{t:.1f}" for t in (times.p50, times.p95, times.p99))


def _faults(name: str, faults: dict[str, int]) -> Iterator[str]:
    for fault, count in faults.items():
        yield f"{name}: {count} x {fault}"


def _about(recording: Recording, told: Figures) -> Iterator[str]:
    """Say how long prompts and answers were, who counted them, and what this process used."""
    if told.completed:
        prompt = "unknown" if told.prompt_tokens is None else f"{told.prompt_tokens:.1f}"
        counted = " and ".join(told.counted_by)
        answer = f"{told.output_tokens_per_request:.1f}"
        yield f"tokens a request {prompt} in, {answer} out, counted by {counted}"
    if recording.steps_per_second is None:
        busy = ", which may limit these figures" if recording.cpu_share > _BUSY else ""
        yield f"the client used {recording.cpu_share:.0%} of a core{busy}"
    else:
        yield f"{recording.steps_per_second:.1f} steps/s"
