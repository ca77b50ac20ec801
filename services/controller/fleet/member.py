"""A member of the fleet as this controller sees it, and the leases of requests sent to it.

Owns the last record, its age, and the counts of what we sent. Whether a member belongs to the
fleet is the roster's judgement.
"""

from __future__ import annotations

from services.controller.upstream.pool import Origin
from shared.protocol.workers import Load, ServiceRecord, State


class Member:
    """One start of one service: its last record, and what we sent it."""

    def __init__(self, record: ServiceRecord, now: float) -> None:
        """Start with a record just read."""
        self.record = record
        self.origin = Origin.of(record.address)
        self.fresh_at = now
        self.stale = False
        self.inflight = 0
        self.unreported = 0

    def update(self, record: ServiceRecord, now: float) -> None:
        """Take a newer beat; an old one says nothing."""
        if record.beat <= self.record.beat:
            return
        if record.address != self.record.address:
            self.origin = Origin.of(record.address)
        self.record = record
        self.fresh_at = now
        self.unreported = 0

    @property
    def pressure(self) -> float:
        """Sequences there, reported or sent since the report, over `max_num_seqs`."""
        load = self.record.load or Load()
        return (load.running + load.waiting + self.unreported) / max(1, load.max_num_seqs)

    @property
    def state(self) -> State:
        """What it says of itself, unless it has fallen silent."""
        return State.FAILED if self.stale else self.record.state

    def serves(self, model: str) -> bool:
        """Return whether a request for `model` may go there now."""
        return (
            self.record.kind == "worker"
            and self.state is State.READY
            and any(info.id == model for info in self.record.models)
        )


class Lease:
    """One request's place on one member; given back exactly once."""

    def __init__(self, member: Member) -> None:
        """Count the request in."""
        self.member = member
        self._beat = member.record.beat
        self._held = True
        member.inflight += 1
        member.unreported += 1

    def release(self) -> None:
        """Count the request out; a second call does nothing."""
        if not self._held:
            return
        self._held = False
        self.member.inflight -= 1
        if self.member.record.beat == self._beat:
            self.member.unreported -= 1
