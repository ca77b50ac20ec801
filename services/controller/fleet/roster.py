"""The roster: who is in the fleet, as this controller sees it, in memory.

Owns the members and the judgement who is fresh, on this process's monotonic clock (every `now`
is its seconds). Knows no Redis: snapshots are handed to it, also
the news that none can be had. While none can, nobody expires.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from statistics import median

from services.controller.fleet.member import Member
from shared.errors import LLMZooError, ModelNotFound, Unavailable
from shared.protocol.workers import ModelInfo, ServiceKind, ServiceRecord, State
from shared.registry import Snapshot
from shared.settings import ControllerSettings

MEMORY_SECONDS = 600.0
"""For so long a model stays known and a lost service stays a scrape target."""

RETURN_GRACE_SECONDS = 6.0
"""After Redis returns, everybody gets this long, the slowest retry of a heartbeat, to beat."""

QUIET_BEATS = 2.5
"""A worker that has missed so many beats gets nothing while others beat."""

ABSENT_RETRY_SECONDS = 2.0
LOADING_RETRY_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class ModelState:
    """How far the fleet is with one model: its best worker's state."""

    info: ModelInfo
    state: State
    progress: float | None


class Roster:
    """All members, by id."""

    def __init__(self, settings: ControllerSettings) -> None:
        """Start knowing nobody; `snapshot_at` stays None until the first snapshot."""
        self.snapshot_at: float | None = None
        self.registry_reachable = False
        self.refused: dict[str, str] = {}
        self._ttl = settings.heartbeat_ttl
        self._interval = settings.heartbeat_interval
        self._slow_start = settings.slow_start
        self._members: dict[str, Member] = {}
        self._lost: dict[str, tuple[Member, float]] = {}
        self._models: dict[str, float] = {}
        self._ready: dict[str, list[Member]] = {}
        self._forgiven_until = 0.0

    def apply(self, snapshot: Snapshot, changed: AbstractSet[str], now: float) -> None:
        """Take a snapshot; `changed` are the ids hinted at since the one before."""
        if not self.registry_reachable and self.snapshot_at is not None:
            self._forgiven_until = now + RETURN_GRACE_SECONDS
        self.registry_reachable = True
        self.refused = snapshot.refused
        present = {record.id: record for record in snapshot.records}
        for record in present.values():
            self._take(record, now)
        self.snapshot_at = now
        for service_id in [name for name in self._members if name not in present]:
            self._judge_absent(service_id, service_id in changed, now)
        for member in self._members.values():
            silence = self._silence(member, now)
            member.quiet = silence > QUIET_BEATS * self._interval
            member.stale = silence > self._ttl + self._interval
            member.warm(now, self._slow_start)
        self._remember(now)
        self._sort()

    def lose_registry(self) -> None:
        """Note that no snapshot can be had; nobody expires from here on."""
        self.registry_reachable = False

    def ready(self, model: str) -> Sequence[Member]:
        """Return the workers that a request for `model` may go to now."""
        return self._ready.get(model, ())

    def has_choice(self, model: str) -> bool:
        """Return whether a request for `model` could go to several workers."""
        return len(self._ready.get(model, ())) > 1

    def silent(self) -> list[Member]:
        """Return those who owe beats, or went without a word, and may hold requests of ours."""
        quiet = (member for member in self._members.values() if member.quiet)
        return [member for member in (*quiet, *self.lost()) if member.leases]

    def is_coming(self, model: str) -> bool:
        """Return whether a worker is on its way to serve a model that none serves now."""
        known = self.models().get(model)
        return known is not None and known.state in _COMING

    def why_not(self, model: str) -> LLMZooError:
        """Return the error for a model that no worker is ready for."""
        workers = [m.record for m in self._members.values() if m.record.kind == "worker"]
        if not workers:
            return Unavailable(
                "No worker is registered.",
                code="no_worker",
                param="model",
                retry_after=ABSENT_RETRY_SECONDS,
            )
        known = self.models().get(model)
        if known is not None:
            return Unavailable(
                _progress_sentence(model, known),
                code="model_not_ready",
                param="model",
                retry_after=LOADING_RETRY_SECONDS,
            )
        if model in self._models:
            return Unavailable(
                f"No worker serves the model '{model}' at the moment.",
                code="model_not_ready",
                param="model",
                retry_after=ABSENT_RETRY_SECONDS,
            )
        return ModelNotFound(f"The model '{model}' does not exist here.", param="model")

    def models(self) -> dict[str, ModelState]:
        """Return the models of all workers; of several the furthest one counts."""
        found: dict[str, ModelState] = {}
        for member in self._members.values():
            record = member.record
            if record.kind != "worker":
                continue
            state = member.state
            for info in record.models:
                other = found.get(info.id)
                if other is None or _FURTHEST.index(state) < _FURTHEST.index(other.state):
                    found[info.id] = ModelState(info, state, record.progress)
        return dict(sorted(found.items()))

    def known_models(self) -> list[str]:
        """Return the names of all models that a worker has announced lately."""
        return sorted(self._models)

    def members(self) -> list[Member]:
        """Return everybody, by id."""
        return [self._members[service_id] for service_id in sorted(self._members)]

    def lost(self) -> Iterator[Member]:
        """Yield those who went without a word, not long ago."""
        yield from (member for member, _ in self._lost.values())

    def count(self, kind: ServiceKind) -> int:
        """Return how many services of a kind there are, at least one."""
        return max(1, sum(member.record.kind == kind for member in self._members.values()))

    def staleness(self, now: float) -> float:
        """Return the seconds since the last snapshot; infinite before the first."""
        return float("inf") if self.snapshot_at is None else now - self.snapshot_at

    def _take(self, record: ServiceRecord, now: float) -> None:
        self._lost.pop(record.id, None)
        member = self._members.get(record.id)
        if member is None or member.record.incarnation != record.incarnation:
            # Whoever was there before this controller is not fresh.
            fresh = self.snapshot_at is not None
            self._members[record.id] = Member(record, now, fresh=fresh)
        else:
            member.update(record, now)

    def _judge_absent(self, service_id: str, hinted: bool, now: float) -> None:
        """Drop who withdrew or fell silent, but not who vanished with Redis' data.

        A withdrawal is hinted at, or announced by `draining`. Who is merely absent was alive a
        moment ago when Redis lost its data, and its key's whole life ago when it died.
        """
        member = self._members[service_id]
        draining = member.record.state is State.DRAINING
        patience = max(self._ttl - 1.5 * self._interval, self._ttl / 2)
        if hinted or draining or self._silence(member, now) > patience:
            del self._members[service_id]
            if not (draining or hinted):
                self._lost[service_id] = (member, now)

    def _sort(self) -> None:
        """Note who is ready for what; it changes with a snapshot only."""
        ready: dict[str, list[Member]] = {}
        for member in self._members.values():
            if member.record.kind == "worker" and member.state is State.READY:
                for info in member.record.models:
                    ready.setdefault(info.id, []).append(member)
        for model, members in ready.items():
            ready[model] = [member for member in members if not member.quiet] or members
            _share_rates(members)
        self._ready = ready

    def _silence(self, member: Member, now: float) -> float:
        return now - max(member.fresh_at, self._forgiven_until)

    def _remember(self, now: float) -> None:
        for member in self._members.values():
            if member.record.kind == "worker":
                self._models.update((info.id, now) for info in member.record.models)
        oldest = now - MEMORY_SECONDS
        self._models = {model: at for model, at in self._models.items() if at >= oldest}
        self._lost = {name: entry for name, entry in self._lost.items() if entry[1] >= oldest}


_FURTHEST = (
    State.READY,
    State.WARMING,
    State.LOADING,
    State.DOWNLOADING,
    State.STARTING,
    State.DRAINING,
    State.FAILED,
)


_COMING = (State.WARMING, State.LOADING, State.DOWNLOADING, State.STARTING)


def _share_rates(members: Iterable[Member]) -> None:
    """Tell the workers of a model what is usual among them, for those that measured nothing."""
    measured = [member.measured_rate for member in members if member.measured_rate]
    usual = median(measured) if measured else 0.0
    for member in members:
        member.usual_rate = usual


def _progress_sentence(model: str, known: ModelState) -> str:
    percent = "" if known.progress is None else f" ({known.progress:.0%})"
    match known.state:
        case state if state in _COMING:
            return f"The model '{model}' is not ready yet: {known.state}{percent}."
        case _:
            return f"No worker is ready for the model '{model}': {known.state}."
