"""The times of one choice on this worker, from its submission to its end.

Owns what of them is measured, and when: between tokens as they come, all else once, at the end,
whatever it is. A choice that began at another worker is timed from where this one took over.
"""

from __future__ import annotations

from services.worker.engine.sequence import Sequence
from services.worker.metrics import WorkerMetrics


class ChoiceTimer:
    """Told of a choice's tokens and of its end, on the event loop; times are monotonic."""

    __slots__ = ("_first_at", "_generated", "_last_at", "_metrics", "_sequence", "_submitted_at")

    def __init__(self, metrics: WorkerMetrics, sequence: Sequence, submitted_at: float) -> None:
        """Time `sequence`, which waits for its place since `submitted_at`."""
        self._metrics = metrics
        self._sequence = sequence
        self._submitted_at = submitted_at
        self._generated = 0
        self._first_at = self._last_at = 0.0

    def generated(self, tokens: int, now: float) -> None:
        """Note new tokens, at least one, which came together."""
        if self._generated:
            self._metrics.inter_token_latency.observe((now - self._last_at) / tokens, tokens)
        else:
            # What came before it came to another worker, or did not come.
            self._first_at = now
        self._generated += tokens
        self._last_at = now

    def end(self, length: int, now: float) -> None:
        """Measure a choice that has ended with `length` tokens, those of other workers with it."""
        metrics, admitted_at = self._metrics, self._sequence.admitted_at
        metrics.queue_time.observe(max(0.0, (admitted_at or now) - self._submitted_at))
        metrics.prompt_length.observe(len(self._sequence.prompt_ids))
        metrics.generation_length.observe(length)
        if not admitted_at:
            return
        metrics.inference_time.observe((self._last_at or now) - admitted_at)
        metrics.prefill_time.observe((self._first_at or now) - admitted_at)
        if not self._generated:
            return
        decoding = self._last_at - self._first_at
        metrics.decode_time.observe(decoding)
        if self._generated > 1:
            metrics.time_per_token.observe(decoding / (self._generated - 1))
