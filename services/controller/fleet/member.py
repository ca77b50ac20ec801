"""A member of the fleet as this controller sees it.

Owns the last record, its age, and what a policy looks at: the record's load together with what
this controller has sent and the record cannot know yet. Whether a member belongs to the fleet is
the roster's judgement.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from services.controller.breaker import Breaker
from services.controller.routing.ask import DEFAULT_ANSWER_TOKENS
from services.controller.routing.prefix_view import PrefixView
from services.controller.upstream.pool import Origin
from shared.protocol.workers import Load, ServiceRecord, State

if TYPE_CHECKING:
    from services.controller.fleet.lease import Lease

# A report tells of a moment that is past, and others' sequences are what it has beyond ours: the
# least of a few reports, so that ours, if they began or ended meanwhile, are not taken for theirs.
_REPORTS = 3

_PEAK_KEPT = 0.99
"""A beat's part of the highest rate that stays, where no higher one is measured."""

PREFILL_SPEEDUP = 8.0
"""Prefilled over generated tokens a second, of a worker that has not measured it."""

UNKNOWN_RATE = 500.0
SLOWEST_START = 0.1


class Member:
    """One start of one service: its last record, and what we sent it."""

    def __init__(self, record: ServiceRecord, now: float, *, fresh: bool = False) -> None:
        """Start with a record just read; a `fresh` one grows into its share of the work."""
        self.record = record
        self.origin = Origin.of(record.address)
        self.fresh_at = now
        self.quiet = self.stale = False
        self.breaker = Breaker()
        self.prefixes = PrefixView()
        self.leases: set[Lease] = set()
        self.inflight = 0
        self.prefill_inflight = 0
        self.decode_inflight = 0
        self.prefix_queries = self.prefix_hits = 0
        self.usual_rate = 0.0
        self.chosen_at = 0.0
        self.ramp = 1.0
        self._fresh = fresh
        self._ready_at: float | None = None
        self._decode_peak = self._prefill_peak = 0.0
        self._others: deque[int] = deque(maxlen=_REPORTS)
        self._take(record, now)

    def update(self, record: ServiceRecord, now: float) -> None:
        """Take a newer beat; an old one says nothing."""
        if record.beat <= self.record.beat:
            return
        if record.address != self.record.address:
            self.origin = Origin.of(record.address)
        self.record = record
        self.fresh_at = now
        self._take(record, now)

    @property
    def id(self) -> str:
        """Its name in the fleet."""
        return self.record.id

    @property
    def incarnation(self) -> str:
        """What tells this start of the service from others."""
        return self.record.incarnation

    def fingerprint(self, model: str) -> str:
        """Return what it says of how it computes a model; empty: nothing."""
        return next((info.fingerprint for info in self.record.models if info.id == model), "")

    @property
    def load(self) -> Load:
        """What it said of its load last."""
        return self.record.load or Load()

    @property
    def state(self) -> State:
        """What it says of itself, unless it has fallen silent."""
        return State.FAILED if self.stale else self.record.state

    def suspect(self) -> None:
        """Let the requests that are there look whether it still lives."""
        for lease in list(self.leases):
            if lease.lost is not None:
                lease.lost()

    def has_room(self, eighths: int) -> bool:
        """Return whether more may be sent than the worker runs at once, by so many eighths."""
        places = self.load.max_num_seqs
        return not places or self.occupied < places + max(eighths, places * eighths // 8)

    # What policies look at.

    @property
    def speed(self) -> float:
        """By its operator's word; less of it while it is fresh."""
        return self.record.speed * self.ramp

    @property
    def others(self) -> int:
        """Sequences there that other controllers have sent."""
        return min(self._others, default=0)

    @property
    def occupied(self) -> int:
        """Sequences there: ours as we count them, others' by report."""
        return self.inflight + self.others

    @property
    def prefill_backlog(self) -> float:
        """Tokens of ours that are still to be prefilled."""
        return self.prefill_inflight

    @property
    def decode_backlog(self) -> float:
        """Tokens still to be generated; of others' sequences half of the usual."""
        return self.decode_inflight + self.others * DEFAULT_ANSWER_TOKENS / 2

    @property
    def prefill_rate(self) -> float:
        """Tokens a second, as measured at best."""
        return self._prefill_peak * self.ramp or self.decode_rate * PREFILL_SPEEDUP

    @property
    def decode_rate(self) -> float:
        """Tokens a second of all sequences, as measured at best: a batch that is not full is slow.

        One that has measured nothing is taken for as fast as the others of its model.
        """
        return (self._decode_peak or self.usual_rate or UNKNOWN_RATE) * self.ramp

    @property
    def measured_rate(self) -> float:
        """The same of its own measurements alone; 0: there are none."""
        return self._decode_peak

    @property
    def kv_use(self) -> float:
        """Part of its KV cache that is taken."""
        load = self.load
        return min(1.0, load.kv_tokens_used / load.kv_tokens_total) if load.kv_tokens_total else 0.0

    @property
    def prefix_hit_ratio(self) -> float | None:
        """Part of the prompt tokens sent there that it was taken to hold; None: none were sent."""
        return self.prefix_hits / self.prefix_queries if self.prefix_queries else None

    def held_blocks(self, chain: tuple[int, ...]) -> int:
        """Return how many leading blocks of a request it holds."""
        return self.prefixes.held(chain)

    def warm(self, now: float, slow_start: float) -> None:
        """Let a fresh one have more of its share, until it is `slow_start` seconds old."""
        if self._fresh and self._ready_at is not None:
            age = (now - self._ready_at) / slow_start
            self.ramp = min(1.0, max(SLOWEST_START, age))

    def _take(self, record: ServiceRecord, now: float) -> None:
        load = self.load
        self._others.append(max(0, load.running + load.waiting - self.inflight))
        self._decode_peak = max(load.tokens_per_second, self._decode_peak * _PEAK_KEPT)
        self._prefill_peak = max(load.prefill_tokens_per_second, self._prefill_peak * _PEAK_KEPT)
        self.prefixes.report(record.prefixes, now)
        if record.state is State.READY and self._ready_at is None:
            self._ready_at = now
